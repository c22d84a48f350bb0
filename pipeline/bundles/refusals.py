"""The ways in which a bundle cannot be made, is refused, or differs: errors as those of :mod:`pipeline.errors`."""

from __future__ import annotations

from pipeline.errors import SlipwayError


class NothingToBundle(SlipwayError):
    remedy = "Read why above: a bundle holds what passed, or what the config waives"


class ArtifactsChanged(SlipwayError):
    remedy = "Run ./doit again: it builds anew what does not hold"


class BundleUnreadable(SlipwayError):
    remedy = "Get the bundle again from whoever released it"


class BundleUnsafe(SlipwayError):
    remedy = "Nothing of it was kept. Slipway writes no such bundle: do not use it"


class BundleUnfit(SlipwayError):
    remedy = "It is not as it was packed: do not use it, and get it again from whoever released it"


class GoldenVectorsMissed(SlipwayError):
    remedy = "The artifact does not decide as the agent did: do not use it"


class SignatureRefused(SlipwayError):
    remedy = "Ask whoever released it for the bundle, its .sig and the public key again"


class SignatureMissing(SlipwayError):
    remedy = "Ask whoever released it for the .sig beside it, or leave --signer out"


class SigningFailed(SlipwayError):
    remedy = "Give a private key as ssh-keygen makes it: ssh-keygen -t ed25519 -f FILE"


class SourceUnfit(SlipwayError):
    remedy = (
        "Give the agent that the bundle was made from: ./doit verify FILE --rebuild --agent FILE [--vecnormalize FILE]"
    )


class BundleDiffers(SlipwayError):
    remedy = "Read above which files differ, and why"
