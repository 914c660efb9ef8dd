"""What weights there are: where they come from, what each file is for, how large it is and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueFile:
    """One file, or (name ending in "/") one folder, of an entry.

    `approximate_bytes` is for planning; the true sizes and digests come from the hub at download time and are recorded.
    `sha256` is given only where it is known beforehand.
    """

    name: str
    purpose: str
    approximate_bytes: int
    sha256: str | None = None

    def covers(self, path: str) -> bool:
        """Whether the file `path` of the repository belongs to this entry."""
        return path.startswith(self.name) if self.name.endswith("/") else path == self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """The weights of one engine, or of a helper. `repository` is its Hugging Face name; `address` is where its
    publisher keeps the files instead, which are then used as they are. Both are empty for weights that come with the
    program.

    `one_of`: any one of `files` is enough, so that whoever has another of the same kind need not fetch anything; the
    first is the one that is fetched. `archive` is what the publisher packs that one in: it is fetched, unpacked and
    thrown away.
    `non_commercial` weights are fetched only for somebody who has accepted the licence.
    """

    name: str
    title: str
    purpose: str
    licence: str
    licence_note: str
    repository: str
    files: tuple[CatalogueFile, ...]
    one_of: bool = False
    address: str = ""
    archive: CatalogueFile | None = None
    non_commercial: bool = False
    licence_link: str = ""

    @property
    def builtin(self) -> bool:
        """Whether they come with the program."""
        return not self.repository and not self.address

    @property
    def approximate_bytes(self) -> int:
        """Size of the download."""
        if self.archive is not None:
            return self.archive.approximate_bytes
        return sum(file.approximate_bytes for file in (self.files[:1] if self.one_of else self.files))


_ENTRIES = (
    CatalogueEntry(
        name="nano",
        title="Nano, the built-in preview model",
        purpose="Shows within seconds who wears what; comes with the program.",
        licence="Apache-2.0",
        licence_note="Trained by this project on figures it draws itself.",
        repository="",
        files=(),
    ),
    CatalogueEntry(
        name="lumosx",
        title="LumosX 1.3B",
        purpose="The published model: real people in real places; wants a graphics card.",
        licence="Apache-2.0",
        licence_note="As stated by its model card.",
        repository="Alibaba-DAMO-Academy/LumosX",
        files=(
            CatalogueFile(name="LumosX_models/", purpose="the video network", approximate_bytes=11_400_000_000),
            CatalogueFile(
                name="models_t5_umt5-xxl-enc-bf16.pth", purpose="the text encoder", approximate_bytes=11_361_920_000
            ),
            CatalogueFile(name="umt5-xxl/", purpose="the tokenizer", approximate_bytes=21_400_000),
            CatalogueFile(name="vae.pth", purpose="the VAE", approximate_bytes=508_000_000),
            CatalogueFile(name="config.json", purpose="the network's settings", approximate_bytes=1_000),
        ),
    ),
    CatalogueEntry(
        name="segment-anything",
        title="Segment Anything ViT-B",
        purpose="Cuts people, clothes and things out of pictures; optional, there is a built-in cutter.",
        licence="Apache-2.0",
        licence_note="Published by Meta AI.",
        repository="",
        address="https://dl.fbaipublicfiles.com/segment_anything/",
        files=(
            CatalogueFile(
                name="sam_vit_b_01ec64.pth",
                purpose="the network",
                approximate_bytes=375_042_383,
                sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            ),
        ),
    ),
    CatalogueEntry(
        name="face-detection",
        title="InsightFace face detector",
        purpose="Finds the faces in dropped photographs, also several in one; optional, a box can be drawn by hand.",
        licence="Non-commercial research only",
        licence_note="That is what InsightFace says of all its models.",
        licence_link="https://github.com/deepinsight/insightface/tree/master/model_zoo",
        non_commercial=True,
        one_of=True,
        repository="",
        address="https://github.com/deepinsight/insightface/releases/download/v0.7/",
        archive=CatalogueFile(
            name="buffalo_sc.zip",
            purpose="InsightFace's smallest model pack",
            approximate_bytes=14_969_382,
            sha256="57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72",
        ),
        files=(
            CatalogueFile(
                name="det_500m.onnx",
                purpose="the detector",
                approximate_bytes=2_524_817,
                sha256="5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
            ),
            CatalogueFile(
                name="det_10g.onnx",
                purpose="the larger detector of the pack buffalo_l, used where you have it",
                approximate_bytes=16_923_827,
                sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
            ),
        ),
    ),
    CatalogueEntry(
        name="preview-decoder",
        title="Preview decoder for LumosX",
        purpose="Shows a forming LumosX clip sharply; optional, without it the picture you watch is coarse.",
        licence="MIT",
        licence_note="Published by Ollin Boer Bohan as taew2_1, of the TAEHV family.",
        one_of=True,
        repository="",
        # A commit, so that the file stays the one whose digest is known.
        address="https://raw.githubusercontent.com/madebyollin/taehv/0ad83bb8fdc48e9e94138704e939d500a3b43660/safetensors/",
        files=(
            CatalogueFile(
                name="taew2_1.safetensors",
                purpose="the small decoder",
                approximate_bytes=22_642_902,
                sha256="04766eac0221b5390b985ae3fdcca652cbb4b1e8b82b28ea7ff89dfad1b1a93f",
            ),
            CatalogueFile(
                name="taew2_1.pth",
                purpose="the same decoder in its other form, used where you have it",
                approximate_bytes=22_678_901,
                sha256="d26151e76cdc2c9424bef988de874b33d9a53f30ef3060cd556c429c469c797e",
            ),
        ),
    ),
)


def entries() -> tuple[CatalogueEntry, ...]:
    """All weights, the built-in ones first."""
    return _ENTRIES


def entry(name: str) -> CatalogueEntry:
    """The entry of this name; `InputError` lists the names there are."""
    for candidate in _ENTRIES:
        if candidate.name == name:
            return candidate
    raise InputError(f"There are no weights “{name}”: choose one of {', '.join(one.name for one in _ENTRIES)}.")
