"""A request made independent of this machine: its recipe, with the pictures as the model sees them."""

from __future__ import annotations

from dataclasses import replace

from engine import __version__
from engine.engines import engine_info
from engine.pictures import PictureStore, encode_png, model_picture, picture_id, prepare_reference
from engine.recipe import Recipe
from engine.request import RenderRequest, RenderSettings
from engine.scene import Reference
from engine.scene_file import with_references

MAX_PICTURE_PIXELS = 4_000_000
"""A larger picture travels letterboxed to the clip's canvas, from which the same clip comes."""


def make_recipe(request: RenderRequest, pictures: PictureStore | None, weights_digest: str) -> Recipe:
    """The recipe of a clip of `request`.

    With a picture store the references become cut-outs and crops, as the model sees them, so that nothing of a
    photograph travels that the clip does not need; rendering the recipe gives the same frames. Without one (None) the
    recipe names the pictures only.
    """
    found: dict[str, bytes] = {}
    if pictures is not None:

        def ready(reference: Reference) -> Reference:
            picture, png = _portable(reference, pictures, request.settings)
            found[picture] = png
            return replace(reference, image=picture, mask=None)

        request = replace(request, scene=with_references(request.scene, ready))
    return Recipe(
        request=request,
        engine_version=__version__,
        weights_digest=weights_digest,
        engine_title=engine_info(request.settings.engine).title,
        pictures=found,
    )


def _portable(reference: Reference, pictures: PictureStore, settings: RenderSettings) -> tuple[str, bytes]:
    pixels = model_picture(reference, pictures)
    if pixels.shape[0] * pixels.shape[1] > MAX_PICTURE_PIXELS:
        pixels = prepare_reference(pixels, settings.width, settings.height)
    return picture_id(pixels), encode_png(pixels)
