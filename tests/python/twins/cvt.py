"""CvT, "Introducing Convolutions to Vision Transformers" (13, 21, W24), inference only.

The forward pass keeps the operations that an export of the official code shows: rearrangements between [B, C, H, W]
and [B, H*W, C], einsum attention, three separate q/k/v convolutions, a squeeze without axes at the end.
"""

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F


class LayerNorm(nn.LayerNorm):
    """Layer normalization computed in float32 whatever the type of its input."""

    def forward(self, x):
        return super().forward(x.float()).to(x.dtype)


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x)."""

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class PatchEmbed(nn.Module):
    """Strided convolution with overlapping patches, then LayerNorm over channels. [B, Ci, H, W] -> [B, C, h, w]."""

    def __init__(self, in_channels, dim, kernel, stride, padding):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel, stride, padding)
        self.norm = LayerNorm(dim)

    def forward(self, x):
        x = self.proj(x)
        _, _, h, w = x.shape
        x = self.norm(rearrange(x, "b c h w -> b (h w) c"))
        return rearrange(x, "b (h w) c -> b c h w", h=h, w=w)


class TokenConv(nn.Module):
    """Depthwise convolution and BatchNorm. [B, C, H, W] -> tokens [B, h*w, C]."""

    def __init__(self, dim, kernel, stride, padding):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel, stride, padding, groups=dim, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x):
        return rearrange(self.bn(self.conv(x)), "b c h w -> b (h w) c")


class Attention(nn.Module):
    """Multi-head attention whose q, k and v pass a convolution first; a class token by-passes it."""

    def __init__(self, dim, heads, kernel, stride_q, stride_kv, padding_q, padding_kv, qkv_bias, cls_token):
        super().__init__()
        self.heads = heads
        self.cls_token = cls_token
        self.scale = dim**-0.5  # the full width, not the width of a head
        self.conv_proj_q = TokenConv(dim, kernel, stride_q, padding_q)
        self.conv_proj_k = TokenConv(dim, kernel, stride_kv, padding_kv)
        self.conv_proj_v = TokenConv(dim, kernel, stride_kv, padding_kv)
        self.proj_q = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj_k = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj_v = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def project(self, x, h, w):
        """Tokens [B, T, C] -> convolved q [B, Tq, C] and k, v [B, Tkv, C], class token in front."""
        if self.cls_token:
            cls, x = torch.split(x, [1, h * w], dim=1)
        x = rearrange(x, "b (h w) c -> b c h w", h=h, w=w)
        q, k, v = self.conv_proj_q(x), self.conv_proj_k(x), self.conv_proj_v(x)
        if self.cls_token:
            q, k, v = (torch.cat((cls, tokens), dim=1) for tokens in (q, k, v))
        return q, k, v

    def forward(self, x, h, w):
        q, k, v = self.project(x, h, w)
        q = rearrange(self.proj_q(q), "b t (h d) -> b h t d", h=self.heads)
        k = rearrange(self.proj_k(k), "b t (h d) -> b h t d", h=self.heads)
        v = rearrange(self.proj_v(v), "b t (h d) -> b h t d", h=self.heads)
        scores = torch.einsum("bhlk,bhtk->bhlt", [q, k]) * self.scale
        mixed = torch.einsum("bhlt,bhtv->bhlv", [F.softmax(scores, dim=-1), v])
        return self.proj(rearrange(mixed, "b h t d -> b t (h d)"))


class Mlp(nn.Module):
    """Two linear layers with QuickGELU between them."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = QuickGELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block on tokens [B, T, C] of an h x w grid."""

    def __init__(self, dim, mlp_ratio, **attention):
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = Attention(dim, **attention)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x, h, w):
        x = x + self.attn(self.norm1(x), h, w)
        return x + self.mlp(self.norm2(x))


class Stage(nn.Module):
    """Patch embedding and blocks. [B, Ci, H, W] -> ([B, C, h, w], class token [B, 1, C] or None)."""

    def __init__(self, in_channels, dim, depth, patch, cls_token, **block):
        super().__init__()
        self.patch_embed = PatchEmbed(in_channels, dim, *patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if cls_token else None
        self.blocks = nn.ModuleList(Block(dim, cls_token=cls_token, **block) for _ in range(depth))

    def forward(self, x):
        x = self.patch_embed(x)
        batch, _, h, w = x.shape
        x = rearrange(x, "b c h w -> b (h w) c")
        cls = None
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(batch, -1, -1), x), dim=1)
        for block in self.blocks:
            x = block(x, h, w)
        if self.cls_token is not None:
            cls, x = torch.split(x, [1, h * w], dim=1)
        return rearrange(x, "b (h w) c -> b c h w", h=h, w=w), cls


class CvT(nn.Module):
    """Image [B, 3, H, W] -> logits [B, classes]; [classes] for one image, as in the official code."""

    def __init__(self, hyper):
        super().__init__()
        self.num_stages = hyper["num_stages"]
        in_channels = 3
        for i in range(self.num_stages):
            stage = Stage(
                in_channels,
                hyper["dim_embed"][i],
                hyper["depth"][i],
                patch=(hyper["patch_size"][i], hyper["patch_stride"][i], hyper["patch_padding"][i]),
                cls_token=hyper["cls_token_per_stage"][i],
                mlp_ratio=hyper["mlp_ratio"][i],
                heads=hyper["num_heads"][i],
                kernel=hyper["kernel_qkv"][i],
                stride_q=hyper["stride_q"][i],
                stride_kv=hyper["stride_kv"][i],
                padding_q=hyper["padding_q"][i],
                padding_kv=hyper["padding_kv"][i],
                qkv_bias=hyper["qkv_bias"][i],
            )
            self.add_module(f"stage{i}", stage)
            in_channels = hyper["dim_embed"][i]
        self.norm = LayerNorm(in_channels)
        self.head = nn.Linear(in_channels, hyper["num_classes"])

    def forward(self, x):
        for i in range(self.num_stages):
            x, cls = getattr(self, f"stage{i}")(x)
        return self.head(torch.squeeze(self.norm(cls)))


def golden_taps(model):
    """Modules behind the golden tensors: name -> (module, function of its result giving the tensor)."""

    def whole(result):
        return result

    last = model.num_stages - 1
    stage = getattr(model, f"stage{last}")
    taps = {"stage0.patch_embed": (model.stage0.patch_embed, whole)}
    for i in range(model.num_stages):
        taps[f"stage{i}"] = (getattr(model, f"stage{i}"), lambda result: result[0])
    taps[f"stage{last}.patch_embed"] = (stage.patch_embed, whole)
    taps[f"stage{last}.blocks.0.attn"] = (stage.blocks[0].attn, whole)
    taps[f"stage{last}.blocks.0"] = (stage.blocks[0], whole)
    taps[f"stage{last}.cls"] = (stage, lambda result: result[1])
    taps["norm"] = (model.norm, whole)
    return taps
