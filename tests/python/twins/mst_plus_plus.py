"""MST++, "Multi-stage Spectral-wise Transformer" for spectral reconstruction, inference only.

Attention runs across channels: a head's score matrix is [d, d], summed over all pixels. Feature maps change between
[B, C, H, W] for convolutions and [B, H, W, C] for attention, as an export of the official code shows.
"""

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F


class SpectralAttention(nn.Module):
    """Channel attention with a learnt temperature and a convolutional position term. [B, H, W, C] -> same."""

    def __init__(self, dim, heads, dim_head):
        super().__init__()
        self.heads = heads
        self.dim_head = dim_head
        inner = heads * dim_head
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(dim, inner, bias=False)
        self.to_v = nn.Linear(dim, inner, bias=False)
        self.rescale = nn.Parameter(torch.ones(heads, 1, 1))
        self.proj = nn.Linear(inner, dim)
        self.pos_emb = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False),
            nn.GELU(),
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False),
        )

    def forward(self, x):
        b, h, w, c = x.shape
        tokens = x.reshape(b, h * w, c)
        v_tokens = self.to_v(tokens)
        q, k, v = (
            rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in (self.to_q(tokens), self.to_k(tokens), v_tokens)
        )
        q, k, v = q.transpose(-2, -1), k.transpose(-2, -1), v.transpose(-2, -1)
        q = F.normalize(q, dim=-1, p=2)
        k = F.normalize(k, dim=-1, p=2)
        scores = (k @ q.transpose(-2, -1)) * self.rescale
        mixed = scores.softmax(dim=-1) @ v  # [B, heads, d, H*W]
        mixed = mixed.permute(0, 3, 1, 2).reshape(b, h * w, self.heads * self.dim_head)
        spectral = self.proj(mixed).view(b, h, w, c)
        position = self.pos_emb(v_tokens.reshape(b, h, w, c).permute(0, 3, 1, 2))
        return spectral + position.permute(0, 2, 3, 1)


class FeedForward(nn.Module):
    """1x1 convolution to `mult` times the width, 3x3 depthwise, 1x1 back. [B, H, W, C] -> same."""

    def __init__(self, dim, mult):
        super().__init__()
        wide = dim * mult
        self.net = nn.Sequential(
            nn.Conv2d(dim, wide, 1, bias=False),
            nn.GELU(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.GELU(),
            nn.Conv2d(wide, dim, 1, bias=False),
        )

    def forward(self, x):
        return self.net(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class PreNorm(nn.Module):
    """LayerNorm over channels, then `fn`."""

    def __init__(self, dim, fn):
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        return self.fn(self.norm(x))


class AttentionBlocks(nn.Module):
    """`count` pairs of attention and feed-forward, each with a skip. [B, C, H, W] -> same."""

    def __init__(self, dim, heads, dim_head, ff_mult, count):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList([SpectralAttention(dim, heads, dim_head), PreNorm(dim, FeedForward(dim, ff_mult))])
            for _ in range(count)
        )

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        for attention, feed_forward in self.blocks:
            x = attention(x) + x
            x = feed_forward(x) + x
        return x.permute(0, 3, 1, 2)


class MST(nn.Module):
    """One U-shaped transformer: encoder levels, bottleneck, decoder levels. [B, C, H, W] -> same."""

    def __init__(self, dim, stage, num_blocks, dim_head, ff_mult):
        super().__init__()

        def blocks(level):
            width = dim << level
            return AttentionBlocks(width, width // dim_head, dim_head, ff_mult, num_blocks[level])

        self.embedding = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.encoder_layers = nn.ModuleList(
            nn.ModuleList(
                [
                    blocks(level),
                    nn.Conv2d(dim << level, dim << (level + 1), 4, stride=2, padding=1, bias=False),
                ]
            )
            for level in range(stage)
        )
        self.bottleneck = blocks(stage)
        self.decoder_layers = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.ConvTranspose2d(dim << (level + 1), dim << level, 2, stride=2),
                    nn.Conv2d(dim << (level + 1), dim << level, 1, bias=False),
                    blocks(level),
                ]
            )
            for level in reversed(range(stage))
        )
        self.mapping = nn.Conv2d(dim, dim, 3, padding=1, bias=False)

    def forward(self, x):
        features = self.embedding(x)
        skips = []
        for attention, down in self.encoder_layers:
            features = attention(features)
            skips.append(features)
            features = down(features)
        features = self.bottleneck(features)
        for up, fuse, attention in self.decoder_layers:
            features = fuse(torch.cat([up(features), skips.pop()], dim=1))
            features = attention(features)
        return self.mapping(features) + x


class MSTPlusPlus(nn.Module):
    """RGB image [B, 3, H, W] -> spectral bands [B, 31, H, W]; any H and W."""

    multiple = 8

    def __init__(self, hyper):
        super().__init__()
        width, mst = hyper["n_feat"], hyper["mst"]
        self.conv_in = nn.Conv2d(hyper["in_channels"], width, 3, padding=1, bias=False)
        self.body = nn.Sequential(
            *(
                MST(mst["dim"], mst["stage"], mst["num_blocks"], hyper["dim_head"], hyper["ff_mult"])
                for _ in range(hyper["stage"])
            )
        )
        self.conv_out = nn.Conv2d(width, hyper["out_channels"], 3, padding=1, bias=False)

    def forward(self, x):
        _, _, height, width = x.shape
        pad_bottom = (self.multiple - height % self.multiple) % self.multiple
        pad_right = (self.multiple - width % self.multiple) % self.multiple
        x = F.pad(x, [0, pad_right, 0, pad_bottom], mode="reflect")
        x = self.conv_in(x)
        out = self.conv_out(self.body(x))
        out += x
        return out[:, :, :height, :width]


def golden_taps(model):
    """Modules behind the golden tensors: name -> (module, function of its result giving the tensor)."""

    def whole(result):
        return result

    first = model.body[0]
    encoder_0, encoder_1 = first.encoder_layers[0][0], first.encoder_layers[1][0]
    modules = {
        "conv_in": model.conv_in,
        "body0.embedding": first.embedding,
        "body0.enc0.msa": encoder_0.blocks[0][0],
        "body0.enc0": encoder_0,
        "body0.enc1": encoder_1,
        "body0.bottleneck": first.bottleneck,
        **{f"body{i}": body for i, body in enumerate(model.body)},
    }
    return {name: (module, whole) for name, module in modules.items()}
