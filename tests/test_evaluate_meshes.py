"""Mesh and landmark files in all the ways that people write them."""

import numpy as np
import pytest

from deca_cli.errors import InputError
from deca_cli.evaluate.landmark_rows import read_picked_points, read_seven
from deca_cli.evaluate.meshes import read_mesh, read_obj_vertices, write_coloured_ply, write_obj
from deca_cli.evaluate.now_data import find_prediction, open_now, read_image_list

SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
SQUARE_LINES = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


@pytest.mark.parametrize(
    "faces",
    [
        "f 1 2 3\nf 1 3 4\n",
        "f 1/1 2/1 3/1\nf 1/1 3/1 4/1\n",
        "vt 0 0\nvn 0 0 1\nf 1/1/1 2/1/1 3/1/1\nf 1/1/1 3/1/1 4/1/1\n",
        "f 1//1 2//1 3//1\nf 1//1 3//1 4//1\n",
        "f 1 2 3 4\n",
        "f -4 -3 -2\nf -4 -2 -1\n",
        "f 1/1 2/1 3/1\nf 1 3 4\n",
    ],
)
def test_obj_faces_of_every_form_give_the_same_triangles(tmp_path, faces):
    path = tmp_path / "square.obj"
    path.write_text("# made by hand\n" + SQUARE_LINES + faces)
    mesh = read_mesh(path)
    assert mesh.vertices.tolist() == SQUARE.tolist()
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_obj_vertices_are_read_alike_in_one_block_and_scattered(tmp_path):
    block, scattered = tmp_path / "a.obj", tmp_path / "b.obj"
    block.write_text("# scan\nmtllib none.mtl\n" + SQUARE_LINES + "vn 0 0 1\nf 1 2 3\n")
    scattered.write_text("v 0 0 0\r\nvn 0 0 1\r\nv 1 0 0\r\nv 1 1 0\r\nf 1 2 3\r\nv 0 1 0")
    assert read_obj_vertices(block).tolist() == SQUARE.tolist()
    assert read_obj_vertices(scattered).tolist() == SQUARE.tolist()


def test_obj_vertex_colours_are_not_taken_for_coordinates(tmp_path):
    path = tmp_path / "coloured.obj"
    path.write_text("".join(f"v {x:g} {y:g} {z:g} 0.5 0.25 1\n" for x, y, z in SQUARE) + "f 1 2 3\nf 1 3 4\n")
    mesh = read_mesh(path)
    assert mesh.has_vertex_colours
    assert mesh.vertices.tolist() == SQUARE.tolist()
    assert read_obj_vertices(path).tolist() == SQUARE.tolist()


@pytest.mark.parametrize("order", ["little", "big"])
def test_binary_ply_of_both_byte_orders(tmp_path, order):
    sign = "<" if order == "little" else ">"
    header = (
        f"ply\nformat binary_{order}_endian 1.0\ncomment by hand\nelement vertex 4\nproperty double x\n"
        "property double y\nproperty double z\nproperty uchar quality\nelement face 1\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    points = np.zeros(4, [("xyz", f"{sign}f8", 3), ("q", "u1")])
    points["xyz"] = SQUARE
    body = points.tobytes() + bytes([4]) + np.arange(4, dtype=f"{sign}i4").tobytes()
    (tmp_path / "square.ply").write_bytes(header.encode() + body)
    mesh = read_mesh(tmp_path / "square.ply")
    assert mesh.vertices.tolist() == SQUARE.tolist()
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert not mesh.has_vertex_colours


def test_written_meshes_read_back(tmp_path):
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    write_obj(tmp_path / "a.obj", SQUARE / 3, faces)
    write_coloured_ply(tmp_path / "a.ply", SQUARE / 3, faces, np.full((4, 3), 7, np.uint8))
    obj, ply = read_mesh(tmp_path / "a.obj"), read_mesh(tmp_path / "a.ply")
    assert obj.vertices == pytest.approx(SQUARE / 3, abs=1e-9)
    assert ply.vertices == pytest.approx(SQUARE / 3, abs=1e-7)
    assert obj.faces.tolist() == ply.faces.tolist() == faces.tolist()
    assert ply.has_vertex_colours


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.obj", "hello\n", "no vertices"),
        ("a.obj", "v 1 2\nf 1 1 1\n", "cannot read the vertex line"),
        ("a.obj", "v 1 2 3\nv 1 oops 3\n", "v 1 oops 3"),
        ("a.obj", SQUARE_LINES + "f 1 2 9\n", "a face names vertex 9, but there are only 4"),
        ("a.obj", SQUARE_LINES + "f one two three\n", "cannot read the face line"),
        ("a.ply", "solid\n", "no PLY header"),
        (
            "a.ply",
            "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nend_header\n0\n",
            "does not fit its header",
        ),
        ("a.ply", "ply\nformat strange 1.0\nend_header\n", "format this tool does not know"),
        ("a.stl", "solid\n", "not a mesh this tool reads"),
    ],
)
def test_damaged_mesh_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_mesh(tmp_path / name)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((68, 3)), r"usual 68 points: keep rows \[36, 39, 42, 45, 33, 48, 54\]"),
        (np.zeros((51, 3)), r"inner 51 points: keep rows \[19, 22, 25, 28, 16, 31, 37\]"),
        (np.zeros((7, 2)), "They are 2D"),
        (np.zeros((5, 3)), "right eye outer corner, right eye inner corner"),
        (np.full((7, 3), np.nan), "NaN or infinity"),
    ],
)
def test_landmarks_of_another_kind_are_named(tmp_path, rows, message):
    np.save(tmp_path / "marks.npy", rows)
    with pytest.raises(InputError, match=message):
        read_seven(tmp_path / "marks.npy")


def test_landmark_text_that_is_no_table_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3\n4 5\n")
    with pytest.raises(InputError, match="rows of different lengths"):
        read_seven(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("x y z\n" * 7)
    with pytest.raises(InputError, match="could not convert"):
        read_seven(tmp_path / "a.txt")


def test_landmarks_of_text_and_array_are_the_same_points(tmp_path):
    rows = np.arange(21.0).reshape(7, 3)
    np.save(tmp_path / "a.npy", rows[None])
    np.savetxt(tmp_path / "a.txt", rows)
    assert read_seven(tmp_path / "a.npy").tolist() == read_seven(tmp_path / "a.txt").tolist() == rows.tolist()


def test_picked_points_may_have_their_attributes_in_any_order(tmp_path):
    lines = [f'<point active="1" z="{3 * i + 2}" x="{3 * i}" name="{i}" y="{3 * i + 1}"/>' for i in range(7)]
    (tmp_path / "a.pp").write_text("<PickedPoints>\n" + "\n".join(lines) + "\n</PickedPoints>\n")
    assert read_picked_points(tmp_path / "a.pp").tolist() == np.arange(21.0).reshape(7, 3).tolist()
    (tmp_path / "a.pp").write_text("\n".join(lines[:6]))
    with pytest.raises(InputError, match="6 picked points, expected 7"):
        read_picked_points(tmp_path / "a.pp")


def test_image_list_uses_the_last_three_parts(tmp_path):
    (tmp_path / "list.txt").write_text("release/photos/A/selfie/IMG_1.jpg\nB/multiview_neutral/IMG_2.jpg\n\n")
    names = [(image.name, image.stem) for image in read_image_list(tmp_path / "list.txt")]
    assert names == [("A/selfie/IMG_1.jpg", "IMG_1"), ("B/multiview_neutral/IMG_2.jpg", "IMG_2")]
    (tmp_path / "list.txt").write_text("IMG_1.jpg\n")
    with pytest.raises(InputError, match="is not SUBJECT/CHALLENGE/FILE"):
        read_image_list(tmp_path / "list.txt")


def test_obj_and_npy_win_over_ply_and_txt(tmp_path):
    (tmp_path / "list.txt").write_text("A/selfie/IMG_1.jpg")
    folder = tmp_path / "A" / "selfie"
    folder.mkdir(parents=True)
    image = read_image_list(tmp_path / "list.txt")[0]
    assert find_prediction(tmp_path, image).lacks == "mesh and landmarks"
    for suffix in ("ply", "txt"):
        (folder / f"IMG_1.{suffix}").touch()
    assert find_prediction(tmp_path, image).mesh == folder / "IMG_1.ply"
    for suffix in ("obj", "npy"):
        (folder / f"IMG_1.{suffix}").touch()
    found = find_prediction(tmp_path, image)
    assert (found.mesh, found.landmarks) == (folder / "IMG_1.obj", folder / "IMG_1.npy")


def test_folder_that_is_not_the_data_set_is_named(tmp_path):
    with pytest.raises(InputError, match="does not look like the NoW data set"):
        open_now(tmp_path)
    with pytest.raises(InputError, match="choose 'val' or 'test'"):
        open_now(tmp_path, image_set="train")
