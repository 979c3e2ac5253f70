"""Gradients of two processes: the mean of both, sent in the same order, whoever is ready first.

As a program: `test_train_shared_gradients.py RANK FILE early|late`, one process of two; it prints what it found.
"""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from deca_cli.train import shared_gradients
from deca_cli.train.shared_gradients import SharedGradients, share_statistics


class Net(nn.Module):
    """The layer `idle` gets no gradient, and `early` is used after `late`, though it was registered before it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early, self.idle, self.late = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.early(self.late(x).tanh()).square().mean()


def gradients(network):
    return {name: one.grad.tolist() for name, one in network.named_parameters() if one.grad is not None}


def alone(batches):
    """What one process gets for the mean over batches."""
    network = Net()
    (sum(network(batch) for batch in batches) / len(batches)).backward()
    return gradients(network)


def batches():
    return torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1)).unbind()


def one_of_two(rank, file, *, early):
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    shared_gradients.PIECE = 4 * 8 * 9  # a layer in each piece
    network = Net()
    shared = SharedGradients(network, torch.device("cpu"), early=early)
    sizes = [len(piece) for piece in shared.pieces]
    network(batches()[rank]).backward()  # a pass that breaks off leaves the next one alone
    sent_within = shared.sent
    network.zero_grad()
    shared.begin()
    network(batches()[rank]).backward()
    shared.finish()
    found = gradients(network)
    shared.close()
    network.zero_grad()
    network(batches()[rank]).backward()
    own = gradients(network)
    statistics = shared_statistics(rank)
    torch.distributed.destroy_process_group()
    return {"sizes": sizes, "sent_within": sent_within, "mean": found, "own": own, "statistics": statistics}


def shared_statistics(rank):
    """Means of a normalisation in training, of its average over time, and of one whose statistics are not trained."""
    norms = nn.ModuleList([nn.BatchNorm1d(8, momentum=1.0), nn.BatchNorm1d(8).eval()])
    norms[0](batches()[rank])
    norms[1].running_mean.fill_(rank)
    average = {name: value + rank for name, value in norms.state_dict().items()}
    share_statistics(norms, average)
    return [
        norms[0].running_mean.tolist(),
        average["0.running_mean"].tolist(),
        norms[1].running_mean.tolist(),
    ]


# Early, `late` sets out within the pass; `early` behind `idle`, which never gets ready, waits for the end.
@pytest.mark.parametrize(("way", "sizes", "sent_within"), [("early", [2, 2, 2], 1), ("late", [6], 0)])
def test_gradients_of_two_processes_become_their_mean_whatever_the_order_and_gaps(
    way, sizes, sent_within, tmp_path
):
    start = [sys.executable, __file__]
    both = [
        subprocess.Popen([*start, str(rank), tmp_path / "meeting", way], stdout=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    found = [json.loads(one.communicate(timeout=60)[0].splitlines()[-1]) for one in both]
    expected, single = alone(batches()), [alone([batch]) for batch in batches()]
    for one, own in zip(found, single, strict=True):
        assert (one["sizes"], one["sent_within"]) == (sizes, sent_within)
        assert one["mean"].keys() == expected.keys()
        for name, value in expected.items():
            assert torch.tensor(one["mean"][name]).flatten().tolist() == pytest.approx(
                torch.tensor(value).flatten().tolist(), abs=1e-7
            )
        assert one["own"] == own
    middle = torch.stack(batches()).mean((0, 1))
    for rank, one in enumerate(found):
        torch.testing.assert_close(
            torch.tensor(one["statistics"]),
            torch.stack([middle, middle + 0.5, torch.full((8,), float(rank))]),
        )


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(one_of_two(int(sys.argv[1]), sys.argv[2], early=sys.argv[3] == "early")) + "\n"
    )
