"""The check of faces against the rows that they name."""

from torch import Tensor


def check_indices(faces: Tensor, count: int, rows: str = "vertices") -> None:
    """Refuse faces that would make somebody read beside the rows. Waits for the GPU if they lie there.

    Args:
        faces: integers ``[F, 3]``, as given: a shorter type could turn a wrong index into a right one.
        count: how many rows there are.
        rows: what they are, for the message.

    Raises:
        ValueError: an index is not in 0 ... count - 1.
    """
    if faces.numel() == 0:
        return
    given = faces.cpu().numpy()
    least, most = given.min(), given.max()
    if least < 0 or most >= count:
        raise ValueError(f"faces refer to {rows} {least} ... {most}, but there are {count}")
