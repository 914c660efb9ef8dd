"""What a clip's file says to everybody: that it was generated, in the standard words other programs look for.

XMP with the IPTC's `DigitalSourceType`, for files that can carry it; players pass over it. Says nothing of the user.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from xml.sax.saxutils import escape

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC: media made by an algorithm that was trained on sampled content."""
SOURCE_TYPE_TAG = "DIGITALSOURCETYPE"
"""Where a webm, which has no XMP, says so."""
PNG_KEY = "XML:com.adobe.xmp"
MP4_BOX_ID = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
_GIF_HEAD = b"\x21\xff\x0bXMP DataXMP"
# Whatever length a reader takes a letter of the text for, it lands in this slope and slides to the end.
_GIF_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"


def xmp(statement: str) -> str:
    """The XMP packet of a generated clip; `statement` is a sentence for people."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        "<xmp:CreatorTool>LumosX Studio</xmp:CreatorTool>"
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(statement)}</rdf:li></rdf:Alt></dc:description>'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )


def append_xmp_to_mp4(path: Path, statement: str) -> None:
    """Add the packet as a `uuid` box at the end of a finished mp4, where the XMP standard wants it."""
    packet = xmp(statement).encode()
    with path.open("ab") as stream:
        stream.write((8 + 16 + len(packet)).to_bytes(4, "big") + b"uuid" + MP4_BOX_ID + packet)


def gif_xmp(statement: str) -> bytes:
    """The packet as an application extension of a gif."""
    return _GIF_HEAD + xmp(statement).encode() + _GIF_TRAILER
