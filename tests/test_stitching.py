import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mrisynth.data.stitching import plan_stitch

BLENDS = ["average", "crop", "hann", "gaussian"]


def plan(height, width, *, size=8, stride=3, crop=1, blend="average"):
    return plan_stitch(height, width, size=size, stride=stride, crop=crop, blend=blend)


@st.composite
def plans(draw):
    size = draw(st.integers(2, 20))
    crop = draw(st.integers(0, (size - 1) // 2))
    stride = draw(st.integers(1, size - 2 * crop))
    height, width = draw(st.integers(1, 45)), draw(st.integers(1, 45))
    return plan(height, width, size=size, stride=stride, crop=crop, blend=draw(st.sampled_from(BLENDS)))


@given(plan=plans(), count=st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_cut_then_stitch_is_the_identity(plan, count):
    images = torch.randn(count, plan.height, plan.width, generator=torch.Generator().manual_seed(0))
    patches = plan.cut(images)
    assert patches.shape == (count * plan.patches, 1, plan.size, plan.size)
    torch.testing.assert_close(plan.stitch(patches), images, rtol=0, atol=1e-5)


def first_voxels(length, size, stride):
    if length <= size:
        return [0]
    return sorted({*range(0, length - size, stride), length - size})


def kept_part(number, starts, size, crop):
    low = 0 if number == 0 else crop
    high = size if number == len(starts) - 1 else size - crop
    return low, high


def bell(blend, place):
    """Weight at `place`, 0 to 1 across the part of a patch that is kept."""
    if blend == "hann":
        return 0.5 - 0.5 * np.cos(2 * np.pi * place)
    if blend == "gaussian":
        return np.exp(-((place - 0.5) ** 2) / (2 * 0.125**2))
    return 1.0


def naive_stitch(patches, height, width, *, size, stride, crop, blend):
    """One image of patches (k, size, size), voxel by voxel, as the words of the documentation have it."""
    rows, columns = first_voxels(height, size, stride), first_voxels(width, size, stride)
    image, total = np.zeros((height, width)), np.zeros((height, width))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            (r0, r1), (c0, c1) = kept_part(i, rows, size, crop), kept_part(j, columns, size, crop)
            for r in range(r0, r1):
                for c in range(c0, c1):
                    weight = bell(blend, (r - r0 + 0.5) / (r1 - r0)) * bell(blend, (c - c0 + 0.5) / (c1 - c0))
                    image[top + r, left + c] += weight * patches[i * len(columns) + j, r, c]
                    total[top + r, left + c] += weight
    return image / total


@pytest.mark.parametrize("blend", ["average", "hann", "gaussian"])
@pytest.mark.parametrize(("height", "width"), [(25, 31), (16, 24), (16, 40)])
def test_stitching_unrelated_patches_equals_a_loop_over_their_voxels(blend, height, width):
    settings = {"size": 16, "stride": 6, "crop": 2, "blend": blend}
    planned = plan(height, width, **settings)
    patches = torch.randn(planned.patches, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = naive_stitch(patches[:, 0].double().numpy(), height, width, **settings)
    np.testing.assert_allclose(planned.stitch(patches)[0].numpy(), expected, atol=1e-5)


def test_crop_takes_each_voxel_from_the_patch_whose_centre_is_nearest():
    planned = plan(8, 20, size=8, stride=4, crop=1, blend="crop")
    assert planned.columns == (0, 4, 8, 12)
    patches = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, -1, 8, 8)
    # Centres at 4, 8, 12 and 16, so the borders lie at 6, 10 and 14.
    assert planned.stitch(patches)[0, 0].tolist() == [0] * 6 + [1] * 4 + [2] * 4 + [3] * 6


def test_seams_are_where_the_kept_parts_begin_or_end():
    # Patches at 0, 20 and 36 of 64 voxels, cropped by 4 but at the border: kept are 0-60, 24-80 and 40-100.
    assert plan(64, 100, size=64, stride=20, crop=4).seams == ((), (24, 40, 60, 80))
    # The nearest patch alone: centres at 4, 8, 12 and 16.
    assert plan(20, 8, size=8, stride=4, crop=1, blend="crop").seams == ((6, 10, 14), ())
    # Side by side.
    assert plan(176, 64, size=64, stride=56, crop=4).seams == ((60, 116), ())


def test_an_image_smaller_than_a_patch_has_no_seams():
    assert plan(5, 8).seams == ((), ())


@given(plan=plans(), place=st.integers(0))
@settings(max_examples=50, deadline=None)
def test_from_line_to_line_a_patch_counts_everywhere_or_nowhere(plan, place):
    patches = torch.zeros(plan.patches, 1, plan.size, plan.size)
    patches[place % plan.patches] = 1
    counts = plan.stitch(patches)[0].numpy() > 0
    rows, columns = ([0, *lines, length] for lines, length in zip(plan.seams, counts.shape, strict=True))
    sums, sizes = (
        np.add.reduceat(np.add.reduceat(a, rows[:-1]), columns[:-1], 1) for a in (counts * 1, counts * 0 + 1)
    )
    assert np.all((sums == 0) | (sums == sizes))
    assert sums.any()


def test_the_last_patches_are_flush_with_the_border():
    planned = plan(64, 100, size=64, stride=20, crop=4)
    assert planned.rows == (0,)
    assert planned.columns == (0, 20, 36)


def test_a_length_that_the_stride_divides_needs_no_extra_patch():
    assert plan(104, 64, size=64, stride=20, crop=4).rows == (0, 20, 40)


def test_rims_are_dropped_between_patches_but_not_at_the_border_of_the_image():
    planned = plan(8, 14, size=8, stride=6, crop=1)
    patches = torch.zeros(2, 1, 8, 8)
    patches[..., 0], patches[..., 7] = 1, 2
    assert planned.stitch(patches)[0, 0].tolist() == [1] + [0] * 12 + [2]


def test_a_small_image_is_cut_as_its_mirror_image():
    images = torch.randn(1, 3, 20)
    planned = plan(3, 20, size=8, stride=6, crop=1)
    padded = np.pad(images[0].numpy(), ((2, 3), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(planned.cut(images)[1, 0].numpy(), padded[:, 6:14])


def test_patches_come_image_by_image_and_row_by_row():
    images = torch.arange(2 * 9 * 10.0).view(2, 9, 10)
    patches = plan(9, 10, size=8, stride=6, crop=1).cut(images)
    np.testing.assert_array_equal(patches[5, 0].numpy(), images[1, 0:8, 2:10].numpy())
    np.testing.assert_array_equal(patches[6, 0].numpy(), images[1, 1:9, 0:8].numpy())


@pytest.mark.parametrize("batch_size", [1, 5, 7, 100])
@pytest.mark.parametrize(("height", "width"), [(20, 21), (5, 20), (3, 4)])
def test_batches_are_all_patches_in_pieces_of_their_own(height, width, batch_size):
    planned, images = plan(height, width), torch.randn(2, height, width)
    batches = list(planned.batches(images, batch_size))
    assert torch.equal(torch.cat(batches), planned.cut(images))
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    for batch in batches:  # nothing of the others is held in memory
        assert batch.is_contiguous()
        assert batch.untyped_storage().nbytes() == batch.nbytes


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_half_precision_is_added_up_in_float32(dtype, expected):
    planned = plan(20, 20)
    assert planned.stitch(planned.cut(torch.ones(1, 20, 20, dtype=dtype))).dtype == expected


def test_a_plan_first_used_in_inference_mode_still_gives_gradients():
    planned = plan(21, 22)
    with torch.inference_mode():
        planned.cut(torch.ones(1, 21, 22))
    patches = torch.ones(planned.patches, 1, 8, 8, requires_grad=True)
    planned.stitch(patches).sum().backward()
    # Every voxel of the image is a weighted mean, so the weights add up to the number of voxels.
    assert patches.grad.sum().item() == pytest.approx(21 * 22, rel=1e-5)


class OperationCounter(TorchDispatchMode):
    """Counts what is asked of the device."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("images", [1, 5])
def test_additions_grow_with_rows_and_columns_of_patches_not_with_patches_or_images(images):
    planned = plan(80, 110)
    assert (len(planned.rows), len(planned.columns)) == (25, 35)
    patches = planned.cut(torch.ones(images, 80, 110))
    with OperationCounter() as counter:
        planned.stitch(patches)
    assert sum(name.startswith("addcmul") for name in counter.names) == 25 + 35
    assert not any("item" in name or "local_scalar" in name for name in counter.names)


def test_patches_with_gaps_between_them_are_refused():
    with pytest.raises(ValueError, match="stride 7 leaves gaps"):
        plan(30, 30, size=8, stride=7, crop=1)


def test_images_and_patches_of_another_shape_are_refused():
    planned = plan(20, 30)
    with pytest.raises(ValueError, match=r"20 x 30, not \(30, 20\)"):
        planned.cut(torch.ones(1, 30, 20))
    with pytest.raises(ValueError, match="patches of"):
        planned.stitch(torch.ones(planned.patches + 1, 1, 8, 8))


def test_patches_that_are_not_contiguous_are_stitched_alike():
    planned = plan(20, 20)
    images = torch.randn(2, 20, 20)
    patches = planned.cut(images).to(memory_format=torch.channels_last)
    turned = planned.cut(images).transpose(2, 3).contiguous().transpose(2, 3)
    for other in (patches, turned):
        torch.testing.assert_close(planned.stitch(other), images)


@pytest.mark.gpu
@pytest.mark.parametrize("blend", BLENDS)
def test_cut_then_stitch_is_the_identity_on_cuda(blend):
    planned = plan(75, 90, size=64, stride=20, crop=4, blend=blend)
    images = torch.randn(4, 75, 90, device="cuda")
    torch.testing.assert_close(planned.stitch(planned.cut(images)), images, rtol=0, atol=1e-5)
