#!/usr/bin/env python3
"""Tests of verify.py itself: python3 tests/test_verify.py"""
import hashlib
import unittest

import verify


class Ed25519(unittest.TestCase):
    # RFC 8032, section 7.1, tests 1 to 3.
    CASES = [
        ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
        ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
        ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
    ]

    def test_signatures_of_the_rfc_are_right_and_any_changed_bit_makes_them_wrong(self):
        for key, message, signature in self.CASES:
            key, message, signature = (bytes.fromhex(text) for text in (key, message, signature))
            self.assertTrue(verify.is_signature(key, message, signature))
            self.assertFalse(verify.is_signature(key, message + b"x", signature))
            for at in range(0, 64, 7):
                bad = bytearray(signature)
                bad[at] ^= 1
                self.assertFalse(verify.is_signature(key, message, bytes(bad)))

    def test_a_scalar_that_is_not_reduced_is_refused(self):
        key, message, signature = (bytes.fromhex(text) for text in self.CASES[0])
        scalar = int.from_bytes(signature[32:], "little") + verify.ORDER
        self.assertFalse(verify.is_signature(key, message, signature[:32] + scalar.to_bytes(32, "little")))


class Json(unittest.TestCase):
    def test_a_member_that_stands_twice_is_refused_and_so_is_what_is_no_json(self):
        for text in ['{"a":1,"a":2}', '{"a":NaN}', '{"a":Infinity}', '{"a":1} x', "{"]:
            with self.assertRaises(verify.Wrong):
                verify.parse(text, "here")

    def test_the_digest_is_over_the_bytes_around_the_value(self):
        raw = b'\n{ "signature" :\t"x\\"{}" , "b":{"signature":"y"} }\n'
        expected = hashlib.sha256(b'\n{ "signature" :\tnull , "b":{"signature":"y"} }\n').hexdigest()
        text = verify.signed_text(raw, "auditctl/drill", "auditctl/5f0c", 7)
        self.assertEqual(text, f"auditctl/drill v1\nauditctl/5f0c\n7\n{expected}\n")

    def test_a_newer_format_is_told_from_what_is_wrong(self):
        self.assertRaises(verify.Newer, verify.check_head, {"type": "a", "format": 2}, "a", "here")
        for wrong in [{"type": "b", "format": 2}, {"type": "a"}, {"type": "a", "format": True}, {"type": "a", "format": 0}, []]:
            self.assertRaises(verify.Wrong, verify.check_head, wrong, "a", "here")


class Names(unittest.TestCase):
    def test_an_origin_is_read_from_its_end(self):
        for origin, found in [
            ("auditctl/5f0c", ("auditctl/5f0c", 0)),
            ("auditctl/5f0c/e1", ("auditctl/5f0c", 1)),
            ("example.com/audit/5f0c/e4294967295", ("example.com/audit/5f0c", 4294967295)),
            ("example.com/e1/5f0c", ("example.com/e1/5f0c", 0)),
            ("auditctl/5f0c/e4294967296", None),
            ("auditctl/5f0c/e01", None),
            ("auditctl/e7", None),
            ("5f0c", None),
            ("auditctl/manifest v1", None),
            ("https://example.com/5f0c", None),
        ]:
            self.assertEqual(verify.log_of(origin), found, origin)

    def test_base64_and_hex_have_one_spelling(self):
        self.assertEqual(verify.decode64("AQ==", "here"), b"\x01")
        for text in ["AR==", "AQ=", "AQ", "A Q==", "AQ==\n"]:
            self.assertRaises(verify.Wrong, verify.decode64, text, "here")
        self.assertRaises(ValueError, verify.from_hex, "AB" * 32)


class Trees(unittest.TestCase):
    def test_a_tree_is_the_same_however_it_is_put_together(self):
        whole = verify.Tree()
        for number in range(11):
            whole.append(verify.leaf_hash(bytes([number])))
        again = verify.Tree(0, whole.hashes(), 11)
        self.assertEqual(again.root(), whole.root())
        self.assertRaises(verify.Wrong, verify.Tree, 0, whole.hashes()[:-1], 11)


if __name__ == "__main__":
    unittest.main()
