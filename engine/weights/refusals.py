"""What is said of weights that cannot be used, those that somebody else has made above all: one sentence for one fault,
whoever finds it and in whatever form of file.

Names out of such a file are shown shortened and printable: they may be anything. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import WeightsError
from engine.prompt_text import shortened

PUBLISHED = (
    "use the published files (press Download on the page's Models, or run "
    "`python3 launcher.py weights download lumosx`)"
)
REPAIR = (
    "press Repair on the page's Models, or run `python3 launcher.py weights download lumosx` again (`weights convert "
    "FOLDER` if you have the files)"
)
"""What helps where the converted model is not whole."""


def shown(name: object) -> str:
    """A name out of a stranger's file, fit for a terminal and a page."""
    return shortened("".join(sign if sign.isprintable() else "�" for sign in str(name)))


def size_in_words(shape: Sequence[int]) -> str:
    """A tensor's shape, `16×2×2`; `1` for a single value."""
    return "×".join(map(str, shape)) or "1"


# -- weights that are installed ----------------------------------------------------------------------------------------


def unreadable(path: object) -> WeightsError:
    """Installed files that do not load, though they are there."""
    return WeightsError(
        f"{path} cannot be read: press Check on the page's Models, or run `python3 launcher.py weights verify`, and "
        "follow what it says."
    )


def no_record(path: object) -> WeightsError:
    """A converted model without a record that can be read of what is in it."""
    return WeightsError(f"{path} is missing or damaged: {REPAIR}.")


def interrupted(folder: object) -> WeightsError:
    """A model folder whose conversion was not finished."""
    return WeightsError(f"The conversion of the weights in {folder} was interrupted: {REPAIR}.")


# -- files that are not there, or not whole ----------------------------------------------------------------------------


def nothing_there(path: object) -> WeightsError:
    """No file or folder where one was named."""
    return WeightsError(f"There is no {path}: check the path.")


def damaged(path: object) -> WeightsError:
    """A file that cannot be read to its end."""
    return WeightsError(f"{path} is damaged or incomplete: download that file again.")


def damaged_at(path: object, name: str) -> WeightsError:
    """A file that gives no or other values for the tensor `name`."""
    return WeightsError(f"{path} is damaged or incomplete where it holds {shown(name)}: download that file again.")


def missing(path: object) -> WeightsError:
    """One file of several that belong together."""
    return WeightsError(f"{path} is missing: download that file again.")


def no_metadata(folder: object) -> WeightsError:
    """A checkpoint folder without its hidden file."""
    return WeightsError(f"{folder} lacks the file .metadata: download that folder again, hidden files included.")


def no_tokenizer(folder: object) -> WeightsError:
    """A tokenizer's folder with files that cannot be read."""
    return WeightsError(f"{folder} holds no tokenizer that can be read: download that folder again.")


def no_part(folder: object, name: str, bundle: object) -> WeightsError:
    """A folder without the file or folder `name`, which belongs there; `bundle`: the folder of all published files."""
    return WeightsError(
        f"{folder} lacks {name}: put it there, or run `python3 launcher.py weights download lumosx --from {bundle}`, "
        "which fetches what is missing."
    )


def no_network(folder: object) -> WeightsError:
    """A folder in which no form of the video network is found."""
    return WeightsError(
        f"{folder} holds no video network: put the folder LumosX_models or the file LumosX_models.pt there."
    )


# -- files that could do harm ------------------------------------------------------------------------------------------


def could_run(path: object, what: str) -> WeightsError:
    """A pickle that wants the class or function `what`."""
    return WeightsError(
        f"{path} was not read, because it asks for {shown(what)}, and such a file can run programs: {PUBLISHED}."
    )


def leads_out(path: object, other: str) -> WeightsError:
    """Metadata that name a file elsewhere."""
    return WeightsError(
        f"{path} was not read, because it names {shown(other)}, which lies outside of its folder: {PUBLISHED}."
    )


# -- files of another model --------------------------------------------------------------------------------------------


def no_weights(path: object) -> WeightsError:
    """A file that can be read and holds no set of weights."""
    return WeightsError(f"{path} holds no weights that can be used: {PUBLISHED}.")


def other_form(path: object, name: str) -> WeightsError:
    """The tensor `name` is stored in a way that is not read here."""
    return WeightsError(f"{path} holds {shown(name)} in a form that cannot be read here: {PUBLISHED}.")


def other_model(where: object) -> WeightsError:
    """A part, or the configuration of one, that LumosX does not have."""
    return WeightsError(f"{where} belongs to another model than LumosX: {PUBLISHED}.")


def lacks(where: object, name: str) -> WeightsError:
    """`where` (a file, or a part by its title) has no tensor `name`."""
    return WeightsError(f"{where} lacks {shown(name)}, so it is incomplete or belongs to another model: {PUBLISHED}.")


def surplus(where: object, name: str) -> WeightsError:
    """`where` has a tensor, or something else, that LumosX does not."""
    return WeightsError(f"{where} holds {shown(name)}, which LumosX does not have: {PUBLISHED}.")


def twice(where: object, name: str) -> WeightsError:
    """`where` has two tensors that are the same one of LumosX."""
    return WeightsError(f"{where} holds {shown(name)} twice: {PUBLISHED}.")


def other_size(where: object, name: str, found: Sequence[int], wanted: Sequence[int]) -> WeightsError:
    """The tensor `name` has another shape than LumosX's."""
    return WeightsError(
        f"{where} holds {shown(name)} in the size {size_in_words(found)} instead of {size_in_words(wanted)}: "
        f"{PUBLISHED}."
    )


def quantised(where: object, name: str, kind: object) -> WeightsError:
    """The tensor `name` holds values of fewer than 16 bits, or whole numbers."""
    return WeightsError(f"{where} is quantised ({shown(name)} holds {kind} values): {PUBLISHED}.")


def mixed(one: object, other: object) -> WeightsError:
    """Two parts of different models."""
    return WeightsError(f"{one} and {other} do not belong together: {PUBLISHED}.")
