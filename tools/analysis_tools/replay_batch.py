"""Replay the batch of a step that a training left out because it was no number."""

import argparse

from cosub_mm.engine.checkpoints import check_weights, load_checkpoint, trusting
from cosub_mm.engine.finite.batch_dump import read_dump
from cosub_mm.engine.finite.replay import config_of, replay
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.config import load_config, set_dataloader_defaults
from cosub_mm.launch.errors import run_tool, user_errors


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Forward and backward pass of the batch in a dump, as the workers had made it '
        'and with its random numbers. A dump holds no weights: give a checkpoint of before it. '
        'Ends with 1 if loss or gradients are no numbers again.'
    )
    parser.add_argument('dump', help='WORK_DIR/bad_steps/iter_N_rank_R.pt')
    parser.add_argument('checkpoint', nargs='?', help='weights; without them, initial ones')
    parser.add_argument('--config', help='config of the training; default: the one in WORK_DIR')
    parser.add_argument('--trust-checkpoint', action='store_true', help='load it with its code')
    return parser.parse_args(argv)


def run(argv: list[str] | None) -> int:
    args = parse_args(argv)
    with trusting(args.trust_checkpoint):
        with user_errors('reading the dump'):
            content = read_dump(args.dump)
            cfg = load_config(str(args.config or config_of(args.dump, content)))
            set_dataloader_defaults(cfg)
            cfg.launcher, cfg.resume, cfg.load_from = 'none', False, None
            cfg.randomness = dict(seed=content.get('seed'))
        with user_errors('building the model'):
            runner = CosubRunner.from_cfg(cfg)
            runner.model.init_weights()
        if args.checkpoint:
            with user_errors('checking the checkpoint'):
                check_weights(args.checkpoint, runner.model)
                checkpoint = load_checkpoint(args.checkpoint)
                runner.model.load_state_dict(checkpoint.get('state_dict', checkpoint), strict=False)
        results = replay(content, cfg, runner)
    print(f'iteration {content["iteration"]}, loss then: {content["losses"]}')
    for result in results:
        print(result)
    finite = all(result.finite for result in results)
    print('Loss and gradients are numbers now.' if finite else 'No number again.')
    return 0 if finite else 1


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run_tool(run, argv)


if __name__ == '__main__':
    raise SystemExit(main())
