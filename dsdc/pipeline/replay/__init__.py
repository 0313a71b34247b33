"""What another model, or other processors, would have answered: in the shadow, on documents of the store.

Nothing that is served changes, no prediction and no label is written. What new processors make is stored as ordinary
rows of their versions, beside the old ones, so that it need not be made again if they are taken into use.
"""

from dsdc.pipeline.replay.change import Change, with_changes
from dsdc.pipeline.replay.result import Replayed
from dsdc.pipeline.replay.run import Scope, replay_model, replay_processors
from dsdc.pipeline.replay.write import write_report

__all__ = ["Change", "Replayed", "Scope", "replay_model", "replay_processors", "with_changes", "write_report"]
