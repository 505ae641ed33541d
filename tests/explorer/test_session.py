"""Changes to names and labels: saving, undo, and other programs that write the same files."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.exploring import small_plan

from infogan.api.train_run import train_run
from infogan.data.labels import read_labels
from infogan.explorer.persistence import ConflictError, SaveError
from infogan.explorer.session import Session
from infogan.models.groups import groups_of
from infogan.models.infogan import InfoGAN
from infogan.training.callbacks import Interrupted
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.helpers import Hooks, image_set, small_model


def two_sessions(folder: Path, labels: str = "image,label\n3,owl\n") -> tuple[Session, Session]:
    model = small_model(codes=[{"kind": "categorical", "size": 4}, {"kind": "continuous"}])
    model.save(folder / "model")
    (folder / "labels.csv").write_text(labels)
    first, second = (
        Session(InfoGAN.load(folder), folder / "model", image_set(20), folder / "labels.csv") for _ in range(2)
    )
    return first, second


def test_names_changed_elsewhere_are_loaded_and_not_overwritten(tmp_path: Path) -> None:
    first, second = two_sessions(tmp_path)
    first.name_value("category", 0, "owl")
    assert first.describe()["undo"] == {"id": 0, "change": "category 0 named 'owl'"}
    with pytest.raises(ConflictError, match="another program"):
        second.name_value("category", 0, "elk")
    assert second.model.value_name("category", 0) == InfoGAN.load(tmp_path).value_name("category", 0) == "owl"
    second.name_value("category", 0, "elk")  # allowed after a review
    assert InfoGAN.load(tmp_path).value_name("category", 0) == "elk"
    # The next description shows the new names, and earlier changes cannot be undone any more.
    description = first.describe()
    assert (description["codes"][0]["values"][0]["name"], description["undo"]) == ("elk", None)
    assert first.images().labels == {3: "elk"}  # the group was renamed


def test_labels_changed_elsewhere_are_loaded_and_not_overwritten(tmp_path: Path) -> None:
    first, second = two_sessions(tmp_path)
    first.label([5], "elk")
    with pytest.raises(ConflictError):
        second.label([6], "cat")
    assert second.images().labels == {3: "owl", 5: "elk"}
    second.label([6], "cat")
    (tmp_path / "labels.csv").write_text("image,label\n7,dog\n")  # an editor
    with pytest.raises(ConflictError):
        first.undo(0)
    assert first.images().labels == {7: "dog"}
    assert (tmp_path / "labels.csv").read_text() == "image,label\n7,dog\n"
    (tmp_path / "labels.csv").write_text("damaged")
    with pytest.raises(UserError, match="column"):
        first.label([8], "owl")
    assert (tmp_path / "labels.csv").read_text() == "damaged"


def test_concurrent_labels_are_all_kept(tmp_path: Path) -> None:
    sessions = two_sessions(tmp_path, "")
    labelled: list[int] = []

    def label(number: int) -> None:
        for image in range(number, 20, 2):
            while image not in labelled:
                try:
                    sessions[number].label([image], f"label {image}")
                    labelled.append(image)
                except ConflictError:
                    pass

    threads = [threading.Thread(target=label, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_labels(tmp_path / "labels.csv", image_set(20)).indices.tolist() == list(range(20))


def test_another_model_in_the_folder_is_not_changed(tmp_path: Path) -> None:
    session, _ = two_sessions(tmp_path)
    small_model(codes=[{"kind": "categorical", "size": 5}]).save(tmp_path / "model")
    with pytest.raises(ConflictError, match="another model"):
        session.name_value("category", 0, "owl")
    (tmp_path / "model" / "config.json").write_text("{")
    with pytest.raises(SaveError, match=r"config\.json"):
        session.name_value("category", 0, "owl")
    assert (tmp_path / "model" / "config.json").read_text() == "{"
    assert session.describe()["codes"][0]["name"] == "category"


def test_the_name_command_does_not_overwrite_newer_names(tmp_path: Path) -> None:
    session, _ = two_sessions(tmp_path)
    model = InfoGAN.load(tmp_path)
    since = model.config
    session.name_value("category", 0, "owl")
    model.name_codes({"category": {1: "elk"}})
    with pytest.raises(UserError):
        model.save_names(tmp_path / "model", since)
    assert InfoGAN.load(tmp_path).value_names("category") == ["owl", "1", "2", "3"]


def test_a_change_that_cannot_be_saved_is_undone(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])
    folder = tmp_path / "model"
    model.save(folder)
    session = Session(model, folder, image_set(20), tmp_path / "labels.csv")
    session.name_value("category", 0, "owl")
    session.label([3], "owl")
    for path in [*folder.iterdir()]:
        path.unlink()
    folder.rmdir()
    folder.write_text("a file instead of the folder")
    with pytest.raises(SaveError) as caught:
        session.name_value("category", 0, "elk")
    assert str(tmp_path) not in str(caught.value)
    assert model.value_name("category", 0) == "owl"
    assert read_labels(tmp_path / "labels.csv", image_set(20)).names == ("owl",)
    assert session.describe()["undo"] == {"id": 1, "change": "image 3 labelled 'owl'"}
    session.undo(1)
    with pytest.raises(SaveError):
        session.undo(0)
    assert session.describe()["undo"] == {"id": 0, "change": "category 0 named 'owl'"}
    folder.unlink()
    session.undo(0)
    with pytest.raises(UserError, match="nothing to undo"):
        session.undo(0)


def test_labels_follow_a_renamed_group(tmp_path: Path) -> None:
    def session_with(names: dict[int, str], labels: dict[int, str]) -> Session:
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        model = small_model(codes=[{"kind": "categorical", "size": 4}, {"kind": "continuous"}])
        model.name_codes({"category": names})
        session = Session(model, folder / "model", image_set(20), folder / "labels.csv")
        session.images().labels = labels
        return session

    # Swapping two names changes no label: both names keep their meaning.
    session = session_with({0: "owl", 1: "elk"}, {3: "owl", 4: "elk"})
    session.name_value("category", 0, "elk")
    session.name_value("category", 1, "owl")
    assert session.images().labels == {3: "owl", 4: "elk"}
    # The displayed name of an unnamed value changes when its number becomes another name, and with the code's name.
    session = session_with({}, {3: "2", 4: "1"})
    session.name_value("category", 1, "2")
    assert session.images().labels == {3: "category 2", 4: "2"}
    session.rename_code("category", "kind")
    assert session.images().labels == {3: "kind 2", 4: "2"}
    # All values of a merged group get the new name.
    session = session_with({0: "owl", 2: "owl", 1: "elk", 3: "elk"}, {5: "elk"})
    session.join("category", [0, 1])
    assert {group.name: group.values for group in groups_of(session.model, "category")} == {"owl": (0, 1, 2, 3)}
    assert session.images().labels == {5: "owl"}


def test_names_given_while_a_run_trains_are_kept(tmp_path: Path) -> None:
    plan, run = small_plan(), RunFolder.at(tmp_path / "run")
    steps: list[int] = []
    with pytest.raises(Interrupted):
        train_run(plan, run, callbacks=[Hooks(on_step=steps.append, stop=lambda: len(steps) > 3)])
    model = InfoGAN.load(run.path)
    model.name_codes({"category": {1: "owl"}})
    model.save_config(run.model)
    finished, _ = train_run(plan, run)
    assert finished.value_name("category", 1) == InfoGAN.load(run.path).value_name("category", 1) == "owl"


def test_saved_labels_are_loaded_and_malformed_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,label\n3,owl\n")
    session = Session(small_model(), tmp_path / "model", image_set(20), path)
    assert session.images().labels == {3: "owl"}
    for text, message in (("picture,label\n3,owl\n", "image"), ("image,label\n3,owl\n3,elk\n", "second time")):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            Session(small_model(), tmp_path / "model", image_set(20), path)


def test_labels_that_are_not_utf_8_are_shown_and_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    lines = [b"image,label,note", b"3,caf\xe9,\xff", b"4,tea,"]
    path.write_bytes(b"\n".join(lines) + b"\n")
    model = small_model()
    model.save(tmp_path / "model")
    session = Session(model, tmp_path / "model", image_set(20), path)
    while session.images().encode_next():
        pass
    assert session.images().labels == {3: "caf\\udce9", 4: "tea"}
    json.dumps(session.describe(), ensure_ascii=False).encode()
    json.dumps(session.images().describe([3, 4]), ensure_ascii=False).encode()
    session.label([5], "owl")
    session.label([4], None)
    assert path.read_bytes().splitlines() == [lines[0], lines[1], b"5,owl,"]
    session.label([3], "owl")
    assert path.read_bytes().splitlines() == [lines[0], b"3,owl,\xff", b"5,owl,"]
    assert session.images().codes_csv().splitlines()[4].startswith(b"3,owl,1.000000,")


def test_names_that_are_no_text_are_written_as_csv(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "name": "image", "size": 2}])
    model.save(tmp_path / "model")
    images = replace(image_set(2), names=[os.fsdecode(b"caf\xe9"), "\ud800"])
    session = Session(model, tmp_path / "model", images, tmp_path / "labels.csv")
    while session.images().encode_next():
        pass
    header, *rows = session.images().codes_csv().splitlines()
    assert header == b"image,code image,image_probability,entropy,image_number,source"
    assert [row.split(b",")[0] for row in rows] == [b"caf\xe9", b"\\ud800"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_as_the_label_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    session = Session(small_model(), tmp_path / "model", image_set(20), tmp_path / "labels.csv")
    assert session.images().labels == {}
