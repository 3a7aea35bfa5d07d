#!/usr/bin/env python3
"""Tests of the bench itself: python3 tests/bench/test_corpus.py"""

import os
import shutil
import sqlite3
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import corpus  # noqa: E402
import report  # noqa: E402
import tree  # noqa: E402

# `corpus.py make mixed DIR --scale 0.01`, then `day-later`. A change here means
# that figures from before and after cannot be compared: say so in the commit.
DAY_1 = "7cce073ebafe3c0a8cde2eeb5b3d821502ac457393625e849a0bce0707db4a17"
DAY_2 = "814af0320b53a1a0b6e694d799d924f718de276cf5ec04d07fd6c4f416378609"


class Corpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        os.umask(0)
        cls.base = tempfile.mkdtemp()
        cls.day_1, cls.day_2 = (os.path.join(cls.base, n) for n in ("1", "2"))
        corpus.make_mixed(cls.day_1, 1, 0.01)
        corpus.day_later(cls.day_1, cls.day_2)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.base)

    def copy(self):
        path = os.path.join(tempfile.mkdtemp(dir=self.base), "copy")
        tree.copy(self.day_1, path)
        self.addCleanup(shutil.rmtree, path)
        return path

    def test_same_bytes_on_every_machine(self):
        self.assertEqual(tree.digest(self.day_1), DAY_1)
        self.assertEqual(tree.digest(self.day_2), DAY_2)

    def test_seeds_differ(self):
        other = os.path.join(self.base, "other")
        corpus.make_mixed(other, 2, 0.001)
        first = os.path.join(self.base, "first")
        corpus.make_mixed(first, 1, 0.001)
        self.assertNotEqual(tree.digest(other), tree.digest(first))

    def test_the_sqlite_file_is_one(self):
        for day in (self.day_1, self.day_2):
            path = os.path.join(day, os.fsdecode(corpus.SQLITE))
            db = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
            self.assertEqual(db.execute("pragma integrity_check").fetchone(), ("ok",))
            self.assertGreater(db.execute("select count(*) from states").fetchone()[0], 1000)
            db.close()

    def test_a_copy_is_equal_and_has_other_inodes(self):
        path = self.copy()
        self.assertEqual(tree.compare(self.day_1, path), ([], []))
        inodes = [{os.lstat(p).st_ino for p in tree.walk(d)} for d in (self.day_1, path)]
        self.assertFalse(inodes[0] & inodes[1])

    def test_holes_stay_holes(self):
        sparse = os.path.join(self.copy(), os.fsdecode(corpus.SPARSE))
        s = os.stat(sparse)
        self.assertLess(s.st_blocks * 512, s.st_size // 4)

    def spoiled(self, change):
        path = self.copy()
        victim = os.path.join(path, "odd", ".hidden")
        before = os.stat(victim)
        change(path, victim)
        if os.path.exists(victim):
            os.utime(victim, ns=(before.st_mtime_ns, before.st_mtime_ns))
        return [len(lines) for lines in tree.compare(self.day_1, path)]

    def test_compare_sees_what_a_wrong_restore_does(self):
        def flip(_, victim):
            with open(victim, "r+b") as f:
                byte = f.read(1)[0]
                f.seek(0)
                f.write(bytes([byte ^ 1]))

        def split_link(path, _):
            name = os.path.join(path, "odd", "hard", "photo-0")
            os.rename(name, name + "~")
            shutil.copy2(name + "~", name)
            os.unlink(name + "~")

        def retarget(path, _):
            name = os.path.join(path, "odd", "links", "dangling")
            os.unlink(name)
            os.symlink("/elsewhere", name)

        def extra(path, _):
            with open(os.path.join(path, "odd", "more"), "wb"):
                pass

        for change in (flip, split_link, retarget, extra, lambda _, v: os.truncate(v, 9),
                       lambda _, v: os.unlink(v)):
            self.assertGreaterEqual(self.spoiled(change)[0], 1)
        self.assertEqual(self.spoiled(lambda _, v: os.chmod(v, 0o600)), [0, 1])

    def test_image_and_random_sizes(self):
        for make in (corpus.make_image, corpus.make_random):
            path = os.path.join(self.base, make.__name__)
            digest = make(path, 1, 5_000_000)
            self.assertEqual(os.path.getsize(path), 5_000_000)
            os.unlink(path)
            self.assertEqual(make(path, 1, 5_000_000), digest)

    def test_small_files(self):
        path = os.path.join(self.base, "many")
        corpus.make_small_files(path, 1, 2500)
        sizes = [os.path.getsize(p) for p in tree.walk(path) if os.path.isfile(p)]
        self.assertEqual(len(sizes), 2500)
        self.assertTrue(all(1000 <= s <= 4096 for s in sizes))


class Report(unittest.TestCase):
    SAMPLES = {"first": {"homelab-dr": [{"cpu_s": c, "peak_mib": p} for c, p in
                                        ((1.0, 90), (9.0, 200), (2.0, 100))],
                         "restic": [{"cpu_s": 4.0, "peak_mib": 100}]}}

    def test_ratio_of_medians(self):
        verdict = report.verdicts(self.SAMPLES)[0]
        self.assertEqual((verdict["measured"], verdict["met"]), (0.5, True))

    def test_the_worst_peak_counts(self):
        self.assertIs(report.verdicts(self.SAMPLES)[-1]["met"], False)

    def test_what_was_not_measured_is_said(self):
        found = report.verdict_table(report.verdicts(self.SAMPLES))
        self.assertIn("not measured", found)
        self.assertIn("**not met**", found)


if __name__ == "__main__":
    unittest.main()
