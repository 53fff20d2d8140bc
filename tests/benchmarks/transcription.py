"""The equations of the papers and the front, written down on the weights of a FeatureModel: what ours is timed against.

No masks, no maps, nothing rearranged: a module per modality, einsum where a matrix is named, as one would write it with
the paper beside the screen. The weights are a copy, so that gradients can be compared by name.
"""

import copy
import math

import torch
from torch import nn

from iaca_model.model import FeatureModel


class Transcription(nn.Module):
    """(B, L, D_v), (B, L, D_a) -> (B, L, 2), every step present."""

    def __init__(self, model: FeatureModel):
        super().__init__()
        self.model = copy.deepcopy(model)
        config = model.fusion.config
        self.attend, self.gate = CROSS[config.base], GATES[config.gate]

    def forward(self, video, audio):
        model = self.model
        video, audio = unit(video), unit(audio)
        if model.has_blocks:
            video, audio = block(model.video_block, video), block(model.audio_block, audio)
        if model.fusion.front:
            video, audio = front(model.fusion.front, video, audio)
        iterates = [(video, audio)]
        for layer in model.fusion.layers:
            iterates.append(self.attend(layer, *iterates[-1]))
        fused = self.gate(model.fusion.gate, iterates, model.fusion.config)
        if model.has_blocks:
            fused = block(model.joint_block, fused)
        return torch.cat([model.valence(fused), model.arousal(fused)], dim=2)


def unit(x):
    return x / x.norm(dim=2, keepdim=True)


def block(weights, x):
    """concat(input, output of the LSTM) -> dropout -> Linear -> L2-normalise, from learned initial states."""
    states = weights.init_hidden.unsqueeze(1).repeat(1, x.size(0), 1)
    h0, c0 = states[: len(states) // 2], states[len(states) // 2 :]
    context, _ = weights.rnn(x, (h0.contiguous(), c0.contiguous()))
    return unit(weights.linear(weights.dropout(torch.cat([x, context], dim=2))))


def unit_mean_square(x):
    return x / torch.sqrt(x.square().mean(dim=2, keepdim=True).clamp(min=1e-4) + 1e-6)


def pooled(weights, u):
    """c = sum over t of softmax_t(q . u(t)) u(t)."""
    shares = torch.softmax(torch.einsum("blk,k->bl", u, weights.query), dim=1)
    return torch.einsum("bl,blk->bk", shares, u).unsqueeze(1)


def front(weights, video, audio):
    """r_m = 1 - p_m, p = softmax([2 ; -z_v ; -z_a]), of what the modalities and their sequences have in common."""
    compare = weights.compare
    u_v = torch.tanh(compare.video(unit_mean_square(video)))
    u_a = torch.tanh(compare.audio(unit_mean_square(audio)))
    c_v, c_a = pooled(compare.video_pool, u_v), pooled(compare.audio_pool, u_a)
    parts = [u_v, u_a, u_v * u_a, (u_v - c_v) ** 2, (u_a - c_a) ** 2]
    z = weights.judge(torch.relu(compare.read(torch.cat(parts, dim=2))))
    p = torch.softmax(torch.cat([torch.full_like(z[:, :, :1], 2.0), -z], dim=2), dim=2)
    return (1 - p[:, :, 1:2]) * video, (1 - p[:, :, 2:3]) * audio


def co_attention(weights, x, joint):
    """C = Dropout(tanh(K^T J / sqrt(D))); H = relu(tanh(V C)); x' = x + Dropout(relu(Linear(H)))."""
    key = weights.key(x.transpose(1, 2))  # the linear layer acts over time
    value = weights.value(x)
    correlation = torch.einsum("bdl,blj->bdj", key, joint) / math.sqrt(joint.size(2))
    correlation = weights.dropout(torch.tanh(correlation))
    activations = torch.relu(torch.tanh(torch.einsum("bld,bdj->blj", value, correlation)))
    return x + weights.dropout(torch.relu(weights.out(activations)))


def jca(weights, video, audio):
    joint = weights.joint(torch.cat([video, audio], dim=2))
    return co_attention(weights.video, video, joint), co_attention(weights.audio, audio, joint)


def jca_self(weights, x):
    return co_attention(weights.own, x, weights.joint(torch.cat([x, x], dim=2)))


def ca(weights, video, audio):
    """Z = X_a W X_v^T; X'_v = X_v + softmax(Z) X_v; X'_a = X_a + softmax(Z^T) X_a."""
    z = torch.einsum("bid,de,bje->bij", audio, weights.weight, video) / weights.temperature
    attended_video = torch.einsum("bij,bje->bie", torch.softmax(z, dim=2), video)
    attended_audio = torch.einsum("bji,bid->bjd", torch.softmax(z.transpose(1, 2), dim=2), audio)
    return video + attended_video, audio + attended_audio


def ca_self(weights, x):
    z = torch.einsum("bid,de,bje->bij", x, weights.weight, x) / weights.temperature
    return x + torch.einsum("bij,bjd->bid", torch.softmax(z, dim=2), x)


def transformer(weights, x, other):
    """LN(x + MHA(x, other, other)), then LN(x + FFN(x))."""

    def heads(y):
        return y.view(y.size(0), y.size(1), weights.num_heads, -1).transpose(1, 2)

    query, key, value = heads(weights.query(x)), heads(weights.key(other)), heads(weights.value(other))
    scores = torch.einsum("bhqw,bhkw->bhqk", query, key) / math.sqrt(query.size(3))
    context = torch.einsum("bhqk,bhkw->bhqw", torch.softmax(scores, dim=3), value)
    context = weights.out(context.transpose(1, 2).reshape(x.shape))
    x = weights.norm1(x + weights.dropout(context))
    activations = weights.dropout(torch.relu(weights.widen(x)))
    return weights.norm2(x + weights.dropout(weights.narrow(activations)))


def tca(weights, video, audio):
    return transformer(weights.video, video, audio), transformer(weights.audio, audio, video)


def gated(weights, driver, options, config):
    """ReLU(sum of G[i] X_i), G = softmax(Linear(driver) / T)."""
    gate = torch.softmax(weights.linear(driver) / config.gate_temperature, dim=2)
    mixed = sum(gate[:, :, i].unsqueeze(2) * option for i, option in enumerate(options))
    return torch.relu(mixed) if config.gate_relu else mixed


def ungated(weights, iterates, config):
    return torch.cat(iterates[-1], dim=2)


def dca(weights, iterates, config):
    (video, audio), (cross_video, cross_audio) = iterates[0], iterates[-1]
    video = gated(weights.video.gate, cross_video, [video, cross_video], config)
    audio = gated(weights.audio.gate, cross_audio, [audio, cross_audio], config)
    return torch.cat([video, audio], dim=2)


def iaca(weights, iterates, config):
    """Stage 1 between self- and cross-attended features; stage 2, [G[0] X_v ; G[1] X_a], across modalities."""
    (video, audio), (cross_video, cross_audio) = iterates[0], iterates[-1]
    for video_layer, audio_layer in zip(weights.video_self, weights.audio_self, strict=True):
        video, audio = SELF[config.base](video_layer, video), SELF[config.base](audio_layer, audio)
    video = gated(weights.video.gate, cross_video, [video, cross_video], config)
    audio = gated(weights.audio.gate, cross_audio, [audio, cross_audio], config)
    logits = weights.modality.linear(torch.cat([video, audio], dim=2))
    gate = torch.softmax(logits / config.gate_temperature, dim=2)
    return torch.cat([gate[:, :, 0].unsqueeze(2) * video, gate[:, :, 1].unsqueeze(2) * audio], dim=2)


def grjca(weights, iterates, config):
    videos, audios = zip(*iterates, strict=True)
    video = gated(weights.video.gate, videos[-1], videos, config)
    audio = gated(weights.audio.gate, audios[-1], audios, config)
    return torch.cat([video, audio], dim=2)


def hgrjca(weights, iterates, config):
    fused = []
    for part, options in zip((weights.video, weights.audio), zip(*iterates, strict=True), strict=True):
        first = gated(part.first.gate, options[1], options[:2], config)
        second = gated(part.second.gate, options[2], options, config)
        fused.append(gated(part.last.gate, options[2], [first, second], config))
    return torch.cat(fused, dim=2)


def lstm(cell, xs, h, c):
    """i, f, o = sigmoid, g = tanh of W x + b + U h + d; c = f c + i g; h = o tanh(c)."""
    hs = []
    for x in xs:
        z = x @ cell.weight_ih.t() + cell.bias_ih + h @ cell.weight_hh.t() + cell.bias_hh
        i, f, g, o = z.chunk(4, dim=2)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        hs.append(h)
    return hs


def tagf(weights, iterates, config):
    """Softmax over the iterates of mean(unit(Linear([X ; BiLSTM(X)]))) / T."""
    fused = []
    for part, options in zip((weights.video, weights.audio), zip(*iterates, strict=True), strict=True):
        h0, h1, c0, c1 = (state.repeat(*options[0].shape[:2], 1) for state in part.init_hidden)
        onward = lstm(part.first_to_last, options, h0, c0)
        back = lstm(part.last_to_first, options[::-1], h1, c1)[::-1]
        scores = []
        for x, forth, reverse in zip(options, onward, back, strict=True):
            encoded = unit(part.linear(part.dropout(torch.cat([x, forth, reverse], dim=2))))
            scores.append(encoded.mean(dim=2))
        gate = torch.softmax(torch.stack(scores, dim=2) / config.gate_temperature, dim=2)
        mixed = sum(gate[:, :, i].unsqueeze(2) * option for i, option in enumerate(options))
        fused.append(torch.relu(mixed) if config.gate_relu else mixed)
    return torch.cat(fused, dim=2)


CROSS = {"ca": ca, "jca": jca, "tca": tca}
SELF = {"ca": ca_self, "jca": jca_self}
GATES = {"none": ungated, "dca": dca, "iaca": iaca, "grjca": grjca, "hgrjca": hgrjca, "tagf": tagf}
