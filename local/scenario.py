"""A scenario: the hosts of a simulated market and how they behave, from a seed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

GPUS: dict[str, tuple[int, float, int]] = {
    # name: memory in MB, dollars an hour for one, compute capability x 100
    "RTX 3090": (24576, 0.16, 860),
    "RTX 4090": (24564, 0.34, 890),
    "RTX 5090": (32607, 0.45, 1200),
    "RTX A6000": (49140, 0.40, 860),
    "L40S": (46068, 0.62, 890),
    "A100 SXM4": (81920, 0.85, 800),
    "H100 SXM": (81559, 1.95, 900),
    "Tesla T4": (15360, 0.12, 750),
}
PLACES = ("Ontario, CA", "California, US", "Texas, US", "Virginia, US", "Bavaria, DE", "Ile-de-France, FR", "Skane, SE")


class Scenario(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seed: int = 7
    hosts: int = 64
    boot_s: tuple[float, float] = (1.5, 6.0)
    """From create to `running`, per host."""
    destroy_s: float = 0.5
    """From a delete until the machine is no longer found."""
    list_lag_s: float = 0.0
    create_delay_s: float = 0.0
    dud_fraction: float = 0.1
    """Hosts that never boot and stay `loading` with a reason in `status_msg`."""
    rate_limit_scale: float = 0.1
    """Multiplies the provider's minimum intervals; 0 turns them off."""
    processes: bool = True
    """Whether machines run anything; without, they are only what the provider tells of them."""
    searches_a_day: int = 0
    """Vast.ai's quota of searches; 0 for none."""
    settings: dict[str, str] = {}
    """Settings of the local cloud's functions under this scenario, by their environment names."""


DUD_MESSAGES = (
    "Error response from daemon: failed to create task for container: OCI runtime create failed",
    "Error response from daemon: toomanyrequests: You have reached your pull rate limit",
    "write /var/lib/docker/tmp: no space left on device",
)


def load(path: Path) -> Scenario:
    return Scenario.model_validate_json(path.read_text())


def market(scenario: Scenario) -> list[dict[str, Any]]:
    """Offer rows as Vast.ai lists them, one a host, with what only the simulator knows under `_`."""
    dice = random.Random(scenario.seed)
    rows = []
    for number in range(scenario.hosts):
        name = list(GPUS)[number % len(GPUS)]
        memory, price, capability = GPUS[name]
        count = dice.choice((1, 1, 1, 1, 2, 4, 8)) if number >= 4 * len(GPUS) else 1
        base = round(price * count * dice.uniform(0.8, 1.35), 4)
        reliability = round(min(0.999, dice.gauss(0.985, 0.012)), 4)
        ports = dice.choice((0, 20, 100, 499)) if number % 5 == 0 else dice.randint(50, 500)
        dud = dice.random() < scenario.dud_fraction
        rows.append(
            {
                "id": 21_000_000 + number,
                "ask_contract_id": 21_000_000 + number,
                "bundle_id": 1_886_000_000 + number,
                "bundled_results": None,
                "machine_id": 37_000 + number,
                "host_id": 98_000 + number,
                "hostname": None,
                "public_ipaddr": "127.0.0.1",
                "num_gpus": count,
                "gpu_name": name,
                "gpu_arch": "nvidia",
                "gpu_ids": list(range(count)),
                "gpu_ram": memory,
                "gpu_total_ram": memory * count,
                "gpu_frac": 1,
                "gpu_lanes": 16,
                "gpu_mem_bw": 1448.2,
                "gpu_max_power": 450,
                "gpu_max_temp": 80,
                "gpu_display_active": False,
                "compute_cap": capability,
                "cuda_max_good": dice.choice((12.4, 12.6, 12.8, 13.0)),
                "driver_version": "570.124.04",
                "driver_vers": 570124004,
                "total_flops": 82.6 * count,
                "dlperf": 90.0 * count,
                "dlperf_per_dphtotal": 200.0,
                "flops_per_dphtotal": 180.0,
                "score": 1000.0,
                "bw_nvlink": 0,
                "pci_gen": 4,
                "pcie_bw": 24.0,
                "cpu_name": "EPYC 7543",
                "cpu_arch": "amd64",
                "cpu_cores": 64,
                "cpu_cores_effective": 32.0,
                "cpu_ghz": 2.8,
                "cpu_ram": 128000,
                "has_avx": 1,
                "mobo_name": "H12",
                "os_version": "22.04",
                "disk_name": "nvme",
                "disk_space": float(dice.randint(200, 4000)),
                "disk_bw": 3000.0,
                "inet_up": float(dice.randint(100, 5000)),
                "inet_down": float(dice.randint(100, 8000)),
                "inet_up_cost": 0.002,
                "inet_down_cost": 0.002,
                "direct_port_count": ports,
                "static_ip": True,
                "geolocation": PLACES[number % len(PLACES)],
                "geolocode": 1,
                "hosting_type": number % 2,
                "verification": "verified",
                "verified": True,
                "vericode": 1,
                "reliability": reliability,
                "reliability2": reliability,
                "reliability_mult": 0.97,
                "expected_reliability": 0,
                "rentable": True,
                "rented": False,
                "external": False,
                "is_bid": False,
                "min_bid": round(base * 0.6, 4),
                "dph_base": base,
                "discount_rate": None,
                "discounted_hourly": 0,
                "credit_discount_max": 0,
                "storage_cost": round(dice.uniform(0.1, 0.3), 3),
                "vram_costperhour": 0.003,
                "start_date": None,
                "end_date": 1_956_666_345.0,
                "duration": 31_000_000.0,
                "cluster_id": None,
                "resource_type": "gpu",
                "vms_enabled": False,
                "webpage": None,
                "logo": "",
                "time_remaining": "",
                "time_remaining_isbid": "",
                "_boot_s": round(dice.uniform(*scenario.boot_s), 2),
                "_dud": dice.choice(DUD_MESSAGES) if dud else None,
            }
        )
    return rows
