"""The optimiser of a training and the course of its rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pixfold.errors import InputError
from pixfold.learn.backbones.gate import gates
from pixfold.learn.peers import Peers
from pixfold.learn.training_options import TrainingOptions

WARM_UP = 0.3  # part of the steps in which the one-cycle rate rises
# What changes in the groups of AdamW and in the schedule as steps are made.
_RATES, _COURSE = ("lr", "initial_lr", "max_lr", "min_lr"), ("last_epoch", "_step_count", "_last_lr")
_FIRST, _LAST = 0.04, 0.01  # one cycle: first and last rate, as parts of the highest


class Optimizer:
    """AdamW over two groups, the network and the factors of its gates, with rates that follow the schedule.

    Parameters
    ----------
    module : Module
        On `device`; it must have a parameter to train.
    options : TrainingOptions
        Rates, weight decay, penalty of the gates, schedule, largest norm of the gradients.
    steps : int
        Optimiser steps of the whole training, at most.
    device : torch.device
        Where the module is.
    half : torch.dtype or None
        Type of 16 bits that the module computes with; small gradients in float16 are scaled so that none becomes 0.
    """

    def __init__(
        self, module: nn.Module, options: TrainingOptions, steps: int, device: torch.device, half: torch.dtype | None
    ) -> None:
        self.gates = gates(module)
        self._penalty, self._clip_norm = options.gate_penalty, options.clip_norm
        factors = {id(gate.g) for gate in self.gates}
        learned = [p for p in module.parameters() if p.requires_grad]
        network = [p for p in learned if id(p) not in factors]
        gated = [p for p in learned if id(p) in factors]
        groups: list[dict[str, Any]] = []
        if network:
            groups.append({"params": network, "lr": options.learning_rate, "weight_decay": options.weight_decay})
        if gated:
            groups.append({"params": gated, "lr": options.gate_learning_rate, "weight_decay": 0.0})
        if not groups:
            raise InputError("train: module must have a parameter to train, got none")
        self._adamw = torch.optim.AdamW(groups, fused=device.type in ("cpu", "cuda"))
        self._schedule: Any = None
        if options.schedule == "one-cycle":
            self._schedule = torch.optim.lr_scheduler.OneCycleLR(
                self._adamw,
                max_lr=[group["lr"] for group in groups],
                total_steps=steps,
                pct_start=WARM_UP,
                div_factor=1 / _FIRST,
                final_div_factor=_FIRST / _LAST,
                cycle_momentum=False,
            )
        self._scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)

    @property
    def rate(self) -> float:
        """Rate of the network for the next step."""
        return float(self._adamw.param_groups[0]["lr"])

    @property
    def n_open_gates(self) -> int:
        """Number of gate factors that are not 0."""
        return sum(gate.n_open for gate in self.gates)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Give what :meth:`restore` needs to go on: tensors and plain values."""
        tensors = {
            f"{number}.{name}": value
            for number, parameter in enumerate(self._parameters())
            for name, value in self._adamw.state[parameter].items()
        }
        rates = [{name: group[name] for name in _RATES if name in group} for group in self._adamw.param_groups]
        course = None
        if self._schedule is not None:
            course = {name: self._schedule.state_dict()[name] for name in _COURSE}
        return tensors, {"rates": rates, "course": course, "scaler": self._scaler.state_dict()}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Go on where :meth:`state` was called, on the same network."""
        for number, parameter in enumerate(self._parameters()):
            found = {name: tensors[key] for key in tensors for at, _, name in [key.partition(".")] if at == str(number)}
            for name, value in found.items():
                if value.ndim:
                    # In memory as the parameter is: the fused step goes through both at once.
                    value = torch.empty_like(parameter).copy_(value)
                elif parameter.device.type != "cpu":
                    value = value.to(parameter.device)
                self._adamw.state[parameter][name] = value
        for group, rates in zip(self._adamw.param_groups, values["rates"], strict=True):
            group.update(rates)
        if self._schedule is not None:
            self._schedule.load_state_dict(dict(values["course"]))
        if values["scaler"]:
            self._scaler.load_state_dict(values["scaler"])

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self._adamw.param_groups for parameter in group["params"]]

    def clear(self) -> None:
        """Forget the gradients."""
        self._adamw.zero_grad(set_to_none=True)

    def add(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def share(self, peers: Peers, numbers: Tensor) -> Tensor:
        """Add up the gradients of all processes; and a few numbers, which are given back."""
        own = self._parameters()
        flat = [numbers.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in own]
        there = numbers.new_tensor([0.0 if p.grad is None else 1.0 for p in own])
        found = peers.added(torch.cat([*(part.to(numbers.dtype) for part in flat), there, numbers]))
        parts = torch.split(found, [*(p.numel() for p in own), len(own), len(numbers)])
        # What no process has a gradient of is left as it is, as one process does.
        for parameter, part, number in zip(own, parts[:-2], parts[-2].tolist(), strict=True):
            if number:
                parameter.grad = torch.empty_like(parameter).copy_(part.view(parameter.shape))
        return parts[-1]

    def step(self, factor: Tensor | None = None) -> None:
        """Make one step down the gradients that were added, times a factor, and shrink the gates."""
        if factor is not None:
            for parameter in self._parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        if self._clip_norm is not None:
            self._scaler.unscale_(self._adamw)
            torch.nn.utils.clip_grad_norm_(self._parameters(), self._clip_norm)
        self._scaler.step(self._adamw)
        scale = self._scaler.get_scale()
        self._scaler.update()
        if amount := self._adamw.param_groups[-1]["lr"] * self._penalty:
            for gate in self.gates:
                gate.shrink(amount)
        # A scale that fell says that the gradients overflowed and the step was left out.
        if self._schedule is not None and self._scaler.get_scale() >= scale:
            self._schedule.step()
