"""What leads rows through a branch: its start, what it is given beside, its last module."""

import copy
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cosub_mm.stochastic_depth.rows.draw import kept_count
from cosub_mm.stochastic_depth.rows.functional import take_rows, take_rows_eagerly
from cosub_mm.stochastic_depth.rows.rule import takes_subset

from . import errors
from .module import StochasticDepth
from .plan import Plan

__all__ = ['Finish', 'Hook', 'Leave', 'ModelHook', 'SharedStart', 'SideRows', 'Start']

_is_compiling = torch.compiler.is_compiling


class Hook:
    """One hook of a module, which can be switched on and off.

    Args:
        module: whose hook.
        register: name of the method that registers it.
        function: the hook; it must be picklable.
        **flags: for that method.
    """

    __slots__ = ('flags', 'function', 'handle', 'module', 'number', 'register')

    def __init__(self, module: nn.Module, register: str, function: Any, **flags: bool) -> None:
        self.module, self.register, self.function, self.flags = module, register, function, flags
        self.handle = self.number = None

    def __getstate__(self) -> tuple[None, dict]:
        """Without the number: in a copy or another process somebody else may have it."""
        return None, {**{name: getattr(self, name) for name in Hook.__slots__}, 'number': None}

    def switch(self, on: bool) -> None:
        """Be there, or not."""
        if on and self.handle is None:
            # Not prepended: dynamo finds hooks by their place in the dictionary underneath.
            self.handle = self._registered()
        elif not on and self.handle is not None:
            self.handle.remove()
            self.handle = None

    def _registered(self) -> RemovableHandle:
        """Under the number that it had before: compiled code is guarded by the numbers of hooks.

        With new ones all would be compiled anew in the first step behind each evaluation.
        """
        following = RemovableHandle.next_id
        if self.number is not None:
            RemovableHandle.next_id = self.number
        try:
            handle = getattr(self.module, self.register)(self.function, **self.flags)
        finally:
            RemovableHandle.next_id = max(following, RemovableHandle.next_id)
        self.number = handle.id
        return handle


class ModelHook(Hook):
    """A hook of the model that one of its ends keeps: a copy of a block takes no model along."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict) -> Hook:
        """Of a block alone it is a hook of nothing."""
        alone = id(self.module) not in memo
        module = nn.Identity() if alone else memo[id(self.module)]
        twin = ModelHook(module, self.register, copy.deepcopy(self.function, memo), **self.flags)
        twin.handle = None if alone else copy.deepcopy(self.handle, memo)
        return twin


class Start:
    """A branch starts here, before its first module, to which it hands on the kept rows.

    Args:
        end: the end of the branch.
        block: its block.
        path: the first module, seen from the block.
        module: that module, or None for a method.
        save: what may save less than the kept rows, called with the stream, its kept rows and their
            indices; None where nothing may.
    """

    __slots__ = (
        'block', 'end', 'module', 'name', 'parent', 'path', 'pays', 'save', 'siblings', 'step',
    )  # fmt: skip

    def __init__(
        self,
        end: StochasticDepth,
        block: nn.Module,
        path: str,
        module: nn.Module | None,
        save: Any = None,
    ) -> None:
        self.end, self.block, self.path, self.module, self.save = end, block, path, module, save
        parent, _, self.name = path.rpartition('.')
        self.parent = block.get_submodule(parent)
        self.siblings = self.parent._modules
        self.step = end.step
        self.pays: dict[torch.device, bool] = {}  # by device

    def standing(self) -> Any:
        """What stands at the path now."""
        try:
            return self.block.get_submodule(self.path)
        except AttributeError:
            return None

    def __call__(self, module: nn.Module, args: tuple) -> tuple | None:
        """Draw the rows, hand on the kept ones, and leave the plan for the end."""
        step = self.step
        if not step.rate:
            return None
        x = args[0] if args else None
        if not isinstance(x, Tensor):
            raise errors.no_tensor(self.end.place, self.path, x)
        batch, device = x.shape[0], x.device
        eager = not _is_compiling()
        if eager:
            if module is not self.module or self.siblings.get(self.name) is not module:
                self._check(module)
            step.thread = get_ident()
            rows = step.draw_eagerly(batch, device)
        else:
            step.thread = None
            rows = step.draw(batch, device)
        pays = self.pays.get(device) if eager else self._pays_on(device)
        if pays is None:
            pays = self.pays[device] = self._pays_on(device)
        # Without a row to spare, a gather would only put what comes from elsewhere out of order.
        if rows.index.shape[0] == batch or not pays:
            step.plan = Plan(rows, False)
            return None
        taken = take_rows_eagerly(x, rows) if eager else take_rows(x, rows)
        saving = None if self.save is None else self.save(x, taken, rows.index)
        step.plan = Plan(rows, True, saving)
        if saving is not None:
            saving.__enter__()
        return (taken, *args[1:])

    def _pays_on(self, device: torch.device) -> bool:
        """Whether a subset is computed there, where it spares a row."""
        end = self.end
        return takes_subset(end.implementation, end.place.convolutional, device.type, 1, 2)

    def _check(self, module: nn.Module) -> None:
        if self.module is None:
            return
        if module is not self.module:
            raise errors.data_parallel(self.end.place)
        now = getattr(self.parent, self.name, None)
        if now is not module:
            if now is None or {*now.parameters()} - {*module.parameters()}:
                raise errors.wrapped(self.end.place, self.path, now)
            self._follow(now)  # what was put around it hands everything on: FSDP, a checkpoint

    def _follow(self, wrapper: nn.Module) -> None:
        for parent in wrapper.modules():
            for name, child in parent.named_children():
                if child is self.module:
                    self.parent, self.name, self.siblings = parent, name, parent._modules


class SharedStart(Start):
    """A start whose end is also that of a branch that is masked.

    A pass that is cut short, as those are that a checkpoint computes anew, leaves a plan. The end
    must not take it for that of the masked branch, so that there is one only where rows are spared:
    then the number of rows tells the two apart.
    """

    __slots__ = ()

    def __call__(self, module: nn.Module, args: tuple) -> tuple | None:
        """Leave it to the end to draw where no row is spared."""
        end = self.end
        x = args[0] if args else None
        if isinstance(x, Tensor) and end.drop_prob:
            batch = x.shape[0]
            computed = kept_count(batch, end.drop_prob)[0] + 1  # at most
            if computed >= batch or not takes_subset(
                end.implementation, end.place.convolutional, x.device.type, computed, batch
            ):
                end.step.plan = None
                return None
        return super().__call__(module, args)


class SideRows:
    """Forward pre-hook of a module that is given more than the stream sample by sample.

    Args:
        end: the end of the branch that the module belongs to.
        name: the argument.
        position: where it stands if it is given by position.
        ndim: its dimensions where it has one entry a sample.
    """

    __slots__ = ('end', 'name', 'ndim', 'position')

    def __init__(self, end: StochasticDepth, name: str, position: int, ndim: int) -> None:
        self.end, self.name, self.position, self.ndim = end, name, position, ndim

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple | None:
        """Hand on the kept rows of it, too."""
        plan = self.end.step.plan
        if plan is None or not plan.subset:
            return None
        given = self.name in kwargs
        if not given and self.position >= len(args):
            return None
        x = self._kept(kwargs[self.name] if given else args[self.position], plan.rows)
        if x is None:
            return None
        if given:
            return args, {**kwargs, self.name: x}
        return (*args[: self.position], x, *args[self.position + 1 :]), kwargs

    def _kept(self, x: Any, rows: Any) -> Any:
        """The kept rows of x; None where all samples share it."""
        if isinstance(x, tuple) and all(isinstance(part, Tensor) for part in x):
            parts = [self._kept(part, rows) for part in x]
            return None if any(part is None for part in parts) else (*parts,)
        if not isinstance(x, Tensor) or x.ndim != self.ndim:
            return None
        if x.shape[0] == rows.batch:
            return x.index_select(0, rows.index)
        if x.shape[0] and x.shape[0] % rows.batch == 0:  # an entry a sample and head
            return x.unflatten(0, (rows.batch, -1)).index_select(0, rows.index).flatten(0, 1)
        return None


class Finish:
    """Forward hook of a branch's last module, where no module stands in DropPath's place."""

    __slots__ = ('end',)

    def __init__(self, end: StochasticDepth) -> None:
        self.end = end

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> Any:
        """End the branch; of a tuple, as attention returns it, the first entry is the residual."""
        if isinstance(output, tuple):
            return (self.end(output[0], behind=True), *output[1:])
        return self.end(output, behind=True)


class Leave:
    """Forward hook of a branch's first module, also called when it fails: its saving ends."""

    __slots__ = ('end',)

    def __init__(self, end: StochasticDepth) -> None:
        self.end = end

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> None:
        """Leave what the start has entered."""
        plan = self.end.step.plan
        if plan is not None and plan.saving is not None:
            self.end.step.plan = plan._replace(saving=None)
            plan.saving.__exit__(None, None, None)
