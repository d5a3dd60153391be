"""The published scores, by the names under which the published trials run.

Source: *Reconstructing 9.4T MRI from 7T MRI images using Generative Adversarial Networks* (2020), Table 2 (CNNs) and
Table 3 (GANs). They were measured on four test specimens or so whose scans are private: beside other data their size
means nothing, and only their order can be compared. The random forest was judged by eye and has no row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PublishedScores:
    """A row of the paper's Table 2 or 3.

    Args:
        label: what the paper calls the model.
        table: the table's number.
        psnr: in dB, for a peak of 255 over errors on standardised images.
        mse: on standardised images.
        ssim: structural similarity.
        parameters: of the generator.
    """

    label: str
    table: int
    psnr: float
    mse: float
    ssim: float
    parameters: int


PUBLISHED: Mapping[str, PublishedScores] = {
    "fcn-1": PublishedScores("FCN 1", 2, 57.01, 0.147, 0.116, 308_545),
    "fcn-2": PublishedScores("FCN 2", 2, 56.47, 0.151, 0.0679, 155_681),
    "dcsrn-l1": PublishedScores("DCSRN, L1", 2, 65.51, 0.0236, 0.358, 53_977),
    "dcsrn-l2": PublishedScores("DCSRN, L2", 2, 62.83, 0.0406, 0.254, 53_977),
    "dcsrn-perceptual": PublishedScores("DCSRN, P", 2, 64.1, 0.0316, 0.211, 53_977),
    "dcgan-1": PublishedScores("GAN 1 (DCGAN)", 3, 65.31, 0.022, 0.255, 6_885),
    "dcgan-2": PublishedScores("GAN 2 (DCGAN)", 3, 67.44, 0.0178, 0.578, 458_385),
    "dcgan-3": PublishedScores("GAN 3 (DCGAN)", 3, 67.06, 0.0194, 0.588, 868_369),
    "dcgan-4": PublishedScores("GAN 4 (DCGAN)", 3, 65.67, 0.0225, 0.358, 868_369),
    "unet-5": PublishedScores("GAN 5 (U-net)", 3, 65.90, 0.0229, 0.500, 1_829_025),
    "unet-6": PublishedScores("GAN 6 (U-net)", 3, 66.17, 0.0213, 0.498, 1_829_025),
    "unet-7": PublishedScores("GAN 7 (U-net)", 3, 67.55, 0.0174, 0.593, 1_829_025),
    "unet-8": PublishedScores("GAN 8 (U-net)", 3, 66.27, 0.0223, 0.508, 1_829_025),
    "pix2pix-9": PublishedScores("GAN 9 (pix2pix)", 3, 65.87, 0.0249, 0.544, 1_829_025),
    "pix2pix-10": PublishedScores("GAN 10 (pix2pix)", 3, 63.18, 0.0333, 0.237, 1_829_025),
    "pix2pix-11": PublishedScores("GAN 11 (pix2pix)", 3, 61.07, 0.0517, 0.443, 1_829_025),
}
"""The rows of both tables, in the paper's order."""

COUNTERPARTS: Mapping[str, str] = {"psnr_255": "psnr", "mse_study": "mse", "ssim_study": "ssim"}
"""Our metrics on the paper's scale, and which of its columns each stands for."""

NAMES = ("forest", *PUBLISHED)
"""Every published trial, in the paper's order."""

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    family: {
        "epochs": epochs,
        "optimizer.batch_size": 32,
        "patches.size": 64,
        "patches.per_subject": 300,
        "patches.tissue": 0,
        "select": "last",
    }
    for family, epochs in {"cnn": 10, "gan": 30}.items()
}
"""How long and on what the paper trained the networks of a family (its sections 5.2 and 6.5), by a setting's path.

That patches may lie outside the tissue and that the last epoch's weights were taken is how we read it.
"""


def published_values(metric: str) -> dict[str, float]:
    """What the paper printed for its models by the counterpart of a metric: label -> value; none where there is none.

    The models are of other data: a value says where the paper was, and not how good a model of ours is.
    """
    if metric not in COUNTERPARTS:
        return {}
    return {row.label: getattr(row, COUNTERPARTS[metric]) for row in PUBLISHED.values()}
