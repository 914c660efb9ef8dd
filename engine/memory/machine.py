"""What this machine is and has: processor, memory, graphics devices, free disk. Measures, and decides nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A place where a network can run. `kind` as torch names it (cuda, mps, cpu); memory is the device's own."""

    kind: str
    name: str
    memory_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One look at the machine. `cores`: that this process may use; RAM is what a container allows, if it is in one.

    `devices`: graphics devices, best first; empty if there is none or torch cannot use it.
    """

    system: str
    python: str
    processor: str
    cores: int
    ram_bytes: int
    ram_free_bytes: int
    disk_free_bytes: int
    devices: tuple[Device, ...]

    @property
    def device(self) -> Device:
        """The one a render runs on: the first graphics device, else the processor with its memory."""
        if self.devices:
            return self.devices[0]
        return Device(kind="cpu", name=self.processor, memory_bytes=self.ram_bytes, free_bytes=self.ram_free_bytes)


def free_ram() -> int:
    """Bytes of memory that are free, within what a container allows."""
    import psutil

    limit, used = container_memory(Path("/sys/fs/cgroup"))
    return max(0, min(psutil.virtual_memory().available, limit - used))


def look(disk: Path) -> Machine:
    """Look at this machine; `disk` is a place, existing or not, on the disk whose free space counts.

    Imports torch, if it is installed, to ask for graphics devices.
    """
    import psutil

    limit, _ = container_memory(Path("/sys/fs/cgroup"))
    return Machine(
        system=f"{platform.system()} {platform.release()} ({platform.machine()})",
        python=platform.python_version(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        ram_bytes=min(psutil.virtual_memory().total, limit),
        ram_free_bytes=free_ram(),
        disk_free_bytes=shutil.disk_usage(_existing(disk)).free,
        devices=_devices(),
    )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def container_memory(control_groups: Path) -> tuple[int, int]:
    """Limit and use of memory, in bytes, of a container (control groups 2 or 1); very much and 0 without a limit.

    What the system keeps of files it has read is no use: it gives that up for whoever needs memory.
    """
    versions = (
        ("memory.max", "memory.current", "memory.stat", ""),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_"),
    )
    for limit, used, details, prefix in versions:
        try:
            allowed, taken = int((control_groups / limit).read_text()), int((control_groups / used).read_text())
        except (OSError, ValueError):  # no such file, or “max”
            continue
        kept = {f"{prefix}active_file", f"{prefix}inactive_file"}
        return allowed, max(0, taken - sum(_counts(control_groups / details, kept)))
    return sys.maxsize, 0


def _counts(path: Path, names: set[str]) -> list[int]:
    """The numbers behind these names in a file of names and numbers; none where there is no such file."""
    try:
        pairs = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []
    return [int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in names and pair[1].isdecimal()]


def cards_without_torch() -> tuple[Device, ...]:
    """Nvidia's cards as their driver tells, for whoever must not load torch; empty where there is no driver."""
    rows = ask_driver("memory.total", "memory.free", "name")
    return tuple(
        Device(kind="cuda", name=name, memory_bytes=int(total) * 2**20, free_bytes=int(free) * 2**20)
        for total, free, name in rows
        if total.isdigit() and free.isdigit()
    )


def ask_driver(*fields: str) -> tuple[tuple[str, ...], ...]:
    """What Nvidia's driver says of each card, memory in MiB; empty where there is none. Only the last field may hold
    commas."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True, stdin=subprocess.DEVNULL)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
    rows = [tuple(part.strip() for part in line.split(",", len(fields) - 1)) for line in told.stdout.splitlines()]
    return tuple(row for row in rows if len(row) == len(fields))


def _devices() -> tuple[Device, ...]:
    try:
        import torch
    except ImportError:
        return ()
    found: list[Device] = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append(Device(kind="cuda", name=torch.cuda.get_device_name(index), memory_bytes=total, free_bytes=free))
    if torch.backends.mps.is_available():
        memory = torch.mps.recommended_max_memory()
        free = memory - torch.mps.driver_allocated_memory()
        found.append(Device(kind="mps", name="Apple GPU", memory_bytes=memory, free_bytes=free))
    return tuple(found)
