"""Volatility baselines: densities of returns by models whose parameters are fitted to the known part.

A constant Gaussian, and GARCH(1,1) (Bollerslev 1986) with Gaussian or Student's t noise, by the package arch.
"""

import numpy as np
from jaxtyping import Float

MODELS = {
    "constant Gaussian": ("Constant", "normal"),
    "GARCH(1,1)": ("GARCH", "normal"),
    "GARCH(1,1), t": ("GARCH", "t"),
}


def log_densities(returns: Float[np.ndarray, " T"], known: int) -> dict[str, Float[np.ndarray, " _"]]:
    """Returns the log-density, in nats, of each return after the first `known`, given all returns before it.

    Args:
      returns: returns in percent, none of them missing.
      known: how many of them the parameters are fitted to.
    """
    from arch import arch_model

    found = {}
    for name, (volatility, noise) in MODELS.items():
        model = arch_model(returns, mean="Constant", vol=volatility, p=1, q=1, dist=noise, rescale=False)
        fitted = model.fit(last_obs=known, disp="off")
        now = model.fix(fitted.params)
        own = fitted.params.to_numpy()[-model.distribution.num_params :] if model.distribution.num_params else []
        nats = model.distribution.loglikelihood(own, now.resid, now.conditional_volatility**2, individual=True)
        found[name] = nats[known:]
    return found
