"""A request made independent of this machine: its recipe, with the pictures as the model sees them."""

from __future__ import annotations

from dataclasses import replace

from engine import __version__
from engine.engines import engine_info
from engine.pictures import PictureStore, encode_png, model_picture, picture_id, prepare_reference
from engine.recipe import MAX_PICTURES_BYTES, Recipe
from engine.request import RenderRequest, RenderSettings
from engine.scene import Reference, Scene
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
        portable, found = _with_pictures(request, pictures, MAX_PICTURE_PIXELS)
        if sum(map(len, found.values())) > MAX_PICTURES_BYTES:
            canvas = request.settings.width * request.settings.height
            portable, found = _with_pictures(request, pictures, canvas)
        request = portable
    return Recipe(
        request=request,
        engine_version=__version__,
        weights_digest=weights_digest,
        engine_title=engine_info(request.settings.engine).title,
        pictures=found,
    )


def ids_in_recipes(scene: Scene, settings: RenderSettings, pictures: PictureStore) -> dict[str, frozenset[str]]:
    """Under which ids the pictures of a scene may travel in a clip of these settings, by their own ids. Of a picture
    that is gone nothing is known."""
    found: dict[str, frozenset[str]] = {}
    for reference in scene.references():
        if reference.image not in pictures or (reference.mask is not None and reference.mask not in pictures):
            continue
        pixels = model_picture(reference, pictures)
        ids = {picture_id(pixels)}
        if pixels.shape[0] * pixels.shape[1] > settings.width * settings.height:
            ids.add(picture_id(prepare_reference(pixels, settings.width, settings.height)))
        found[reference.image] = found.get(reference.image, frozenset[str]()) | ids
    return found


def _with_pictures(
    request: RenderRequest, pictures: PictureStore, max_pixels: int
) -> tuple[RenderRequest, dict[str, bytes]]:
    """The request with references as the model sees them, and their PNG files by id."""
    found: dict[str, bytes] = {}

    def ready(reference: Reference) -> Reference:
        picture, png = _portable(reference, pictures, request.settings, max_pixels)
        found[picture] = png
        return replace(reference, image=picture, mask=None)

    return replace(request, scene=with_references(request.scene, ready)), found


def _portable(
    reference: Reference, pictures: PictureStore, settings: RenderSettings, max_pixels: int
) -> tuple[str, bytes]:
    pixels = model_picture(reference, pictures)
    if pixels.shape[0] * pixels.shape[1] > max_pixels:
        pixels = prepare_reference(pixels, settings.width, settings.height)
    return picture_id(pixels), encode_png(pixels)
