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
                return ast.literal_eval(text)
            except (ValueError, SyntaxError):
                pass  # [a,b] without quotes is mmengine's own form
        if '{' in text or text.startswith('dict('):
            raise ValueError(f"{text} is no dict; write it as {{'type': 'EMAHook'}}")
        if any(text.count(one) != text.count(other) for one, other in ('()', '[]')):
            raise ValueError(f'{text} lacks a bracket')
        if ' ' in text and ',' not in text and not text.startswith(('[', '(')):
            return text
        return self._parse_iterable(text)
