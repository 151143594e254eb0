"""Training-free scores: what an untrained network promises."""

from nas.proxies.zero_cost.scorer import SCORES, Scorer, log_score, score

__all__ = ["SCORES", "Scorer", "log_score", "score"]
