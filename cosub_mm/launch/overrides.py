"""Settings of a config on a command line."""

import argparse
import ast
from collections.abc import Sequence

from mmengine.config import DictAction

__all__ = ['OverrideAction']


class OverrideAction(DictAction):
    """mmengine's ``KEY=VALUE`` pairs, whose values may also be Python's lists and dicts.

    mmengine takes ``[{'type': 'EMAHook'}]`` for a list of one text, and deletes every space, those
    of a path too.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the pairs to what the option has given before."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in values or []:
            key, sign, text = pair.partition('=')
            if not sign:
                parser.error(f'{option_string} takes KEY=VALUE pairs, not {pair!r}')
            try:
                options[key] = self._value(text.strip())
            except ValueError as error:
                parser.error(f'{option_string} {key}: {error}')
        setattr(namespace, self.dest, options)

    def _value(self, text: str) -> object:
        if text.startswith(('[', '(', '{', "'", '"')):
            try:
                value = ast.literal_eval(text)
                return list(value) if isinstance(value, tuple) and text[0] != '(' else value
            except (ValueError, SyntaxError):
                pass  # [a,b] without quotes is mmengine's own form
        if text.startswith('{') or (text.startswith('[') and '{' in text) or 'dict(' in text:
            raise ValueError(f"{text} is no dict; write it as {{'type': 'EMAHook'}}")
        inner, listed = text, False
        if text[:1] in '[(' and text:
            if text[-1] != {'[': ']', '(': ')'}[text[0]]:
                raise ValueError(f'{text} lacks a bracket')
            inner, listed = text[1:-1], True
        if any(sign in inner for sign in '[('):
            return self._parse_iterable(text)
        if not listed and ',' not in text:
            return self._parse_int_float_bool(text.strip('\'"'))
        # One by one, as mmengine would delete the spaces of a path.
        values = [self._parse_int_float_bool(one.strip(' \'"')) for one in inner.split(',') if one]
        return tuple(values) if text.startswith('(') else values
