"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Result as JSON on standard output.")]
Split = Annotated[
    str | None, typer.Option(help="Only images that the source itself says are of this split.")
]
Standardise = Annotated[
    str | None, typer.Option(help="Bring grey levels together by a column: site, device.")
]
Group = Annotated[
    str | None, typer.Option(help="The images' site, with a predictor of adapt --standardise.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be read.")]
DropSmall = Annotated[bool, typer.Option("--drop-small", help="Leave out classes too small.")]
AllowExternal = Annotated[
    bool, typer.Option("--allow-external", help="Import encoders from outside medmeta.")
]
ExpectSha256 = Annotated[
    str | None, typer.Option(help="SHA-256 that the card must have (against tampering).")
]
Window = Annotated[
    str | None, typer.Option(help="DICOM, NIfTI: lung, brain, bone, …, 40,400, or file (its own).")
]
Slices = Annotated[
    int | None, typer.Option(help="Slices of a volume that are used, around its middle.")
]
Plane = Annotated[str | None, typer.Option(help="NIfTI: axial, coronal or sagittal slices.")]
TimePoint = Annotated[int | None, typer.Option(help="NIfTI over time: which volume, from 1.")]
Depth = Annotated[
    int | None,
    typer.Option(help="Learn volumes whole, each of so many slices (0: slice by slice)."),
]
Spacing = Annotated[
    str | None,
    typer.Option(help="Whole volumes' voxels: same (refuse mixed sizes), any, or brought to mm."),
]
Patches = Annotated[
    int | None,
    typer.Option(help="Of masks: blocks that each volume is learned in (0: all of it at once)."),
]
Resample = Annotated[
    str | None, typer.Option(help="Modalities on other grids: no (refuse), linear or nearest.")
]
Mpp = Annotated[
    float | None, typer.Option(help="Slides: microns per pixel of the tiles they are cut into.")
]
SlideMpp = Annotated[
    float | None, typer.Option(help="Microns per pixel of slides that do not say it.")
]
Tile = Annotated[
    int | None, typer.Option(help="Large pictures: side of their tiles, in their own pixels.")
]
Overlap = Annotated[
    float | None, typer.Option(help="Share of their side that tiles have in common.")
]
Tissue = Annotated[
    float | None, typer.Option(help="Least share of a tile that is tissue; 0: all tiles.")
]
Samples = Annotated[
    int | None, typer.Option(help="Signals, such as ECGs: how many samples each; 0: pictures.")
]
Rate = Annotated[float | None, typer.Option(help="Signals: samples per second.")]
Leads = Annotated[str | None, typer.Option(help="Signals: names of their leads, such as II,V1.")]
Scaling = Annotated[
    str | None, typer.Option(help="Signals: lead (each by its own deviation) or mv.")
]
CsvRate = Annotated[
    float | None, typer.Option(help="Samples per second of CSV files that do not say it.")
]
Modalities = Annotated[
    str | None, typer.Option(help="Columns of the manifest with a file of each: t1,t2,flair.")
]
Record = Annotated[
    str | None, typer.Option(help="Columns of the manifest that are learned from: age,sex,crp.")
]
TextEncoder = Annotated[
    str | None,
    typer.Option(help="Of free text: external:package.module:factory, with --allow-external."),
]
Use = Annotated[
    str | None, typer.Option(help="Of image and record, what is learned from: both, image, record.")
]
Profile = Annotated[
    bool, typer.Option("--profile", help="Say where the time went; writes a trace of it.")
]
