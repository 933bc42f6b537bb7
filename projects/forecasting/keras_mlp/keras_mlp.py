"""Train a small Keras neural network on a dataset: the mean of a few networks that differ in their random start.

Reads: a dataset (`runs:/<id>/dataset`).
Writes: one run with back-test and window scores, the predictions behind them, Keras's own parameters and loss of each
    epoch (autolog, of the last fit), the evaluated `twin`, and the `model` refitted on everything.
Fails when: the dataset is damaged or too short to be scored, or a setting is less than 1.
"""

from __future__ import annotations

import mlflow.keras

from dsgo.command import main
from dsgo.dense_net import DenseNet
from dsgo.errors import SettingError
from dsgo.training import Training, parser

HIDDEN = (64, 32)


class KerasTraining(Training):
    """Autologs the fit on the whole dataset; five fits into one run would mix their curves."""

    def fit(self, regressor, table):
        """A forecaster around this network, trained on `table`."""
        last = len(table) == len(self.table)
        mlflow.keras.autolog(disable=not last, log_models=False, log_datasets=False, silent=True)
        return super().fit(regressor, table)


def train() -> None:
    """Train and log."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=25, help="passes over the rows")
    options.add_argument("--members", type=int, default=3, help="networks in the mean")
    options = options.parse_args()
    for name in ("epochs", "members"):
        if getattr(options, name) < 1:
            raise SettingError(name, getattr(options, name), "1 or more")
    training = KerasTraining("keras_mlp", options.dataset)
    regressor = DenseNet(HIDDEN, members=options.members, epochs=options.epochs, seed=options.seed)
    settings = {
        "hidden": HIDDEN,
        "members": options.members,
        "weight_decay": regressor.weight_decay,
        "seed": options.seed,
    }
    training.finish(regressor, training.backtest(regressor), settings)


if __name__ == "__main__":
    main(train)
