"""That a test which ends differently is seen: by the comparison, and by run.sh under a library that
breaks something.   comparison_test.py LIBRARY BUILD [unittest's arguments]"""

import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from judge import judge  # noqa: E402

REFUSED, BUILD = sys.argv[1:3]


class Judge(unittest.TestCase):
    def test_equal(self):
        run = {"a": "passed", "b": "skipped", "c": "failed"}
        judgement = judge([run], [run])
        self.assertEqual((judgement.count, judgement.equal), (3, 3))
        self.assertEqual((judgement.flaky, judgement.different), ([], []))

    def test_another_result(self):
        judgement = judge([{"a": "passed", "b": "passed"}], [{"a": "passed", "b": "failed"}])
        self.assertEqual((judgement.count, judgement.equal), (2, 1))
        self.assertEqual(judgement.different, ["b: natively passed; with the library failed"])

    def test_better_than_natively(self):
        self.assertEqual(len(judge([{"a": "failed"}], [{"a": "passed"}]).different), 1)

    def test_missing_and_additional(self):
        judgement = judge([{"a": "passed"}], [{"b": "passed"}])
        self.assertEqual(judgement.different, ["a: natively passed; with the library not run",
                                               "b: natively not run; with the library passed"])

    def test_flaky_natively(self):
        judgement = judge([{"a": "passed"}, {"a": "failed"}], [{"a": "failed"}])
        self.assertEqual(judgement.different, [])
        self.assertEqual(judgement.flaky, ["a: natively passed, failed; with the library failed"])

    def test_known(self):
        judgement = judge([{"a": "passed", "b": "passed"}], [{"a": "failed", "b": "failed"}], {"a"})
        self.assertEqual(judgement.known, ["a: natively passed; with the library failed"])
        self.assertEqual(judgement.different, ["b: natively passed; with the library failed"])

    def test_now_and_then_under_the_library_alone(self):
        judgement = judge([{"a": "passed"}] * 3, [{"a": "failed"}, {"a": "passed"}])
        self.assertEqual(len(judgement.different), 1)


class Broken(unittest.TestCase):
    def test_is_reported(self):
        if os.getuid() != 0:
            self.skipTest("needs root")
        done = subprocess.run(
            [os.path.join(HERE, "run.sh"), "--build", BUILD, "--library", REFUSED,
             "--arms", "pool", "cpython-sample"], capture_output=True, text=True)
        if done.returncode == 77:
            self.skipTest(done.stdout)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"DIFFERENT \S+test_200: natively completed.*; with the library error")
        self.assertIn("TOO FEW by the pool", done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
