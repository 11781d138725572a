#!/usr/bin/env python3
"""Tests that the training short cuts in models.py change no result of diffusers' classes."""
import tempfile
import unittest
from pathlib import Path

import sentencepiece
import torch

import generate
import models


def randomised(module, deviation=0.2):
    """Random values for all parameters, so that none of them is hidden by its initial zero or one."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(deviation * torch.randn_like(parameter))
    return module.eval()


class ShortCuts(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)

    @torch.no_grad()
    def test_whole_clips_equal_chunks(self):
        vae = randomised(models.make_vae(), 0.05)
        clips = torch.rand(2, 3, 17, 64, 64) * 2 - 1
        latents = vae.encode(clips).latent_dist.mean
        restored = vae.decode(latents).sample
        models.use_whole_clips()
        torch.testing.assert_close(models.encode_means(vae, clips), latents, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(models.decode_clips(vae, latents).clamp(-1, 1), restored, atol=1e-4, rtol=1e-4)

    @torch.no_grad()
    def test_one_padding_token_equals_all(self):
        transformer = randomised(models.make_transformer(), 0.05)
        latents, time = torch.randn(2, 16, 5, 8, 8), torch.tensor([300.0, 900.0])
        text = torch.randn(2, 10, 64)
        padded = torch.cat([text, torch.zeros(2, models.TEXT_LENGTH - 10, 64)], 1)
        expected = transformer(latents, time, padded, return_dict=False)[0]
        set_padding = models.use_padded_text(transformer)
        set_padding(10, models.TEXT_LENGTH - 10)
        short = torch.cat([text, torch.zeros(2, 1, 64)], 1)
        actual = transformer(latents, time, short, return_dict=False)[0]
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


class Tokenizer(unittest.TestCase):
    def test_both_forms_agree(self):
        captions = [c.caption() for c in generate.all_combinations()]
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = models.make_tokenizer(Path(folder) / "tokenizer")
            pieces = sentencepiece.SentencePieceProcessor(model_file=str(Path(folder) / "tokenizer" / "spiece.model"))
            for caption in captions + ["", "A dog, running: 3 times!"]:
                self.assertEqual(tokenizer(caption).input_ids, pieces.encode(caption) + [tokenizer.eos_token_id])
        self.assertEqual({len(tokenizer(caption).input_ids) for caption in captions}, {10})


if __name__ == "__main__":
    unittest.main()
