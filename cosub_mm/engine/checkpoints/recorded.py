"""The config that mmengine records in a checkpoint, read as data.

``Config.fromstring`` runs the text as a program, and a checkpoint may come from a stranger.
"""

import ast
from collections.abc import Iterator

__all__ = ['ema_hooks', 'parse_config', 'recorded_config', 'runs_code']

# What a dumped config calls beside dict(): containers and numbers without a literal.
_CONTAINERS = {'list': list, 'tuple': tuple, 'set': set, 'frozenset': frozenset}
_NUMBERS = {'nan': float('nan'), 'inf': float('inf')}


def recorded_config(checkpoint: dict) -> dict | None:
    """The config of the run that wrote a checkpoint; None without one, or if it is no plain data.

    Args:
        checkpoint: as mmengine saves it: text under ``meta.cfg`` or ``message_hub``.
    """
    meta = checkpoint.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if text is None:
        hub = checkpoint.get('message_hub')
        runtime = hub.get('runtime_info') if isinstance(hub, dict) else None
        text = runtime.get('cfg') if isinstance(runtime, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return parse_config(text)
    except ValueError:
        return None


def parse_config(text: str) -> dict:
    """Values of a text config that is nothing but assignments, as ``Config.pretty_text`` writes it.

    Nothing is executed. Names that are no values, e.g. a class written as ``torch.optim.SGD``,
    become their text.

    Raises:
        ValueError: the text does something else than assigning plain values.
    """
    try:
        return dict(_assignment(node) for node in ast.parse(text).body)
    except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f'not a config of plain values ({error})') from error


def runs_code(text: str) -> bool:
    """Whether ``Config.fromstring`` would do more with a text than assign plain values.

    What is no Python cannot run; but mmengine fills in ``{{...}}`` before it reads the text.
    """
    if '{{' in text:
        return True
    try:
        parse_config(text)
    except ValueError as error:
        return not isinstance(error.__cause__, SyntaxError)
    return False


def ema_hooks(config: dict | None) -> Iterator[dict]:
    """The hooks of a config that average weights (EMA): mmengine's, mmpretrain's, subclasses."""
    for hook in (config or {}).get('custom_hooks') or []:
        if isinstance(hook, dict) and str(hook.get('type')).endswith('EMAHook'):
            yield hook


def _assignment(node: ast.stmt) -> tuple[str, object]:
    simple = isinstance(node, ast.Assign) and len(node.targets) == 1
    if not simple or not isinstance(node.targets[0], ast.Name):
        raise ValueError(f'line {node.lineno} is no assignment to a name')
    name = node.targets[0].id
    if name in {'dict', 'float', 'range', *_CONTAINERS}:
        # list = eval; a = list('...') would be a call of something else.
        raise ValueError(f'line {node.lineno} gives {name} another meaning')
    return name, _value(node.value)


def _value(node: ast.expr) -> object:
    match node:
        case ast.Constant():
            return node.value
        case ast.List():
            return [_value(item) for item in node.elts]
        case ast.Tuple():
            return tuple(_value(item) for item in node.elts)
        case ast.Set():
            return {_value(item) for item in node.elts}
        case ast.Dict():
            return _items((k and _value(k), v) for k, v in zip(node.keys, node.values))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant()):
            return ast.literal_eval(node)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id='inf' | 'nan')):
            return -_NUMBERS[node.operand.id]
        case ast.Call(func=ast.Name(id='dict'), args=[] | [ast.Dict()]):
            # mmengine writes dict({...}) where a key is no name.
            first = _value(node.args[0]) if node.args else {}
            return first | _items((word.arg, word.value) for word in node.keywords)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if (
            name in _CONTAINERS and len(arguments) < 2
        ):
            return _CONTAINERS[name](*map(_value, arguments))
        case ast.Call(func=ast.Name(id='float'), args=[ast.Constant(value=str() as number)]):
            return float(number)
        case ast.Call(func=ast.Name(id='range'), args=limits, keywords=[]):
            return range(*map(_integer, limits))
        case ast.Name():
            return _NUMBERS.get(node.id, node.id)
        case ast.Attribute():
            return f'{_value(node.value)}.{node.attr}'
    raise ValueError(f'line {node.lineno} holds {type(node).__name__}, which is no plain value')


def _integer(node: ast.expr) -> int:
    value = _value(node)
    if not isinstance(value, int):
        raise ValueError(f'line {node.lineno} has {value!r} for a number')
    return value


def _items(pairs: Iterator) -> dict:
    result = {}
    for key, value in pairs:
        # A key of None is ** with another dict.
        result.update(_value(value) if key is None else {key: _value(value)})
    return result
