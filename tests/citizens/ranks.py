"""What each of two processes does for test_distributed.py: ``python ranks.py RANK FOLDER``.

Both meet through a file in the folder, train, and leave what came out in ``rank0.pt`` and
``rank1.pt``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from evolute import zoo
from evolute.compiler.optimizer import RuleOptimizer
from evolute.errors import InputError

RANKS = 2
ROWS = 4  # of a batch, for each rank
STEPS = 4
SAVED_AT = 2
RESUMED = "nesterov: [a3]*(v/(sqrt(s)+1e-08)) + 0.1*delta(g)"
REPLICATED = ("adam", "opt1", "opt6", "a5", "found20")
Weights = dict[str, Tensor]


def network() -> nn.Module:
    """Make a network in double precision: five rows cannot be shared out evenly among two."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    for weight in model.parameters():
        weight.data.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return model


def train(
    model: nn.Module, optimizer: Optimizer, steps: Iterable[int], *, rows: slice = slice(None)
) -> None:
    """Train on these rows of each step's batch."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(RANKS * ROWS, 6, generator=generator).double()
        targets = torch.randn(RANKS * ROWS, 3, generator=generator).double()
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs[rows]), targets[rows]).backward()
        optimizer.step()


def checkpoint(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    weights, state = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": state}


def restore(model: nn.Module, optimizer: Optimizer, folder: Path) -> None:
    """Take over a checkpoint as the documentation of torch says: into the present states."""
    saved = checkpoint(model, optimizer)
    load(saved, checkpoint_id=folder)
    set_state_dict(
        model, optimizer, model_state_dict=saved["model"], optim_state_dict=saved["optimizer"]
    )


def whole(model: nn.Module) -> Weights:
    """Return the weights, gathered from all ranks."""
    return {
        name: (weight.full_tensor() if isinstance(weight, DTensor) else weight).detach().clone()
        for name, weight in model.named_parameters()
    }


def replicated(name: str, rows: slice) -> Weights:
    model = network()
    wrapped = DistributedDataParallel(model)
    optimizer = zoo.create(name, wrapped.parameters(), lr=0.01, total_steps=STEPS)
    train(wrapped, optimizer, range(STEPS), rows=rows)
    return whole(model)


def sharded(mesh: DeviceMesh) -> nn.Module:
    model = network()
    fully_shard(model, mesh=mesh)
    return model


def fully_sharded(
    name: str, mesh: DeviceMesh, rows: slice, *, foreach: bool = True
) -> tuple[Weights, bool]:
    """Train, and say whether each state has its parameter's shards too."""
    model = sharded(mesh)
    optimizer = zoo.create(name, model.parameters(), lr=0.01, total_steps=STEPS, foreach=foreach)
    train(model, optimizer, range(STEPS), rows=rows)
    alike = all(
        isinstance(value, DTensor)
        and isinstance(weight, DTensor)
        and value.placements == weight.placements
        and value.to_local().shape == weight.to_local().shape
        for weight, state in optimizer.state.items()
        for key, value in state.items()
        if key != "step"
    )
    return whole(model), alike


def refusal(name: str, mesh: DeviceMesh) -> str:
    try:
        zoo.create(name, sharded(mesh).parameters(), lr=0.01, total_steps=STEPS)
    except InputError as error:
        return str(error)
    return ""


def summed(mesh: DeviceMesh, rank: int) -> Tensor:
    """Return a weight that was 0 after a step along a gradient of which each rank has a summand."""
    weight = nn.Parameter(distribute_tensor(torch.zeros(3), mesh, [Shard(0)]))
    weight.grad = DTensor.from_local(torch.full((3,), 1.0 + rank), mesh, [Partial()])
    RuleOptimizer([weight], "none: g", lr=1.0).step()
    return whole(nn.ParameterDict({"weight": weight}))["weight"]


def resumed(mesh: DeviceMesh, rows: slice, folder: Path) -> tuple[Weights, Weights]:
    """Return the weights of an uninterrupted training, and of one resumed from a checkpoint."""
    model = sharded(mesh)
    optimizer = RuleOptimizer(model.parameters(), RESUMED, lr=0.01, total_steps=STEPS)
    train(model, optimizer, range(SAVED_AT), rows=rows)
    save(checkpoint(model, optimizer), checkpoint_id=folder)
    train(model, optimizer, range(SAVED_AT, STEPS), rows=rows)
    fresh = sharded(mesh)
    for weight in fresh.parameters():
        nn.init.zeros_(weight)
    again = RuleOptimizer(fresh.parameters(), RESUMED, lr=0.5, total_steps=9)
    restore(fresh, again, folder)
    train(fresh, again, range(SAVED_AT, STEPS), rows=rows)
    return whole(model), whole(fresh)


def main(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=RANKS
    )
    mesh = init_device_mesh("cpu", (RANKS,))
    rows = slice(rank * ROWS, (rank + 1) * ROWS)
    entries = [zoo.load(name) for name in zoo.names()]
    shardable = [each.name for each in entries if each.is_elementwise and each.is_deterministic]
    trained = {name: fully_sharded(name, mesh, rows) for name in shardable}
    straight, continued = resumed(mesh, rows, folder / "checkpoint")
    results = {
        "replicated": {name: replicated(name, rows) for name in REPLICATED},
        "sharded": {name: weights for name, (weights, _) in trained.items()},
        "states are sharded alike": {name: alike for name, (_, alike) in trained.items()},
        "one by one": fully_sharded("opt1", mesh, rows, foreach=False)[0],
        "summed": summed(mesh, rank),
        "refusals": {e.name: refusal(e.name, mesh) for e in entries if e.name not in shardable},
        "straight": straight,
        "continued": continued,
    }
    torch.save(results, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
