"""The libvirt domain of a lab guest: as little machine as QEMU can make, so that eight of them idle on one core.

Used by libvirt.py.
"""

import re
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from whimbrel_lab.hypervisor import GuestSpec

XML = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='b'>{memory_bytes}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel></os>
  <features><acpi/><apic/><tcg><tb-cache unit='MiB'>8</tb-cache></tcg></features>
  <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
  <clock offset='utc'><timer name='hpet' present='no'/></clock>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='udp'><source mode='connect' host='127.0.0.1' service={port}/></serial>
  </devices>
</domain>
"""


def name(guest: str) -> str:
    """The domain's name: libvirt allows no slash (KubeVirt too makes namespace_name of namespace/name)."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", guest)


def xml(guest: GuestSpec, *, kernel: Path, beats_port: int, emulator: str) -> str:
    """Valid on every lab host: `kernel` is a file that all can read, the port is the lab's own."""
    return XML.format(
        name=escape(name(guest.name)),
        memory_bytes=guest.memory_bytes,
        kernel=escape(str(kernel)),
        emulator=escape(emulator),
        port=quoteattr(str(beats_port)),
    )
