"""What the tests of the recorder share: one recorder_lab for each test, and what may be asked of
its transcript."""
import os
import shutil
import sys
import tempfile
import unittest

import recorder_world as world

LAB = os.path.abspath(sys.argv[1])
SLOW = bool(os.environ.get('TSAN_OPTIONS') or os.environ.get('ASAN_OPTIONS'))
STALL = 3000
PATIENT = 60000  # where a busy machine must not come near a part of it
IMPATIENT = 800  # where a failure is what is waited for


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix='tc-recorder.')
        cls.root = world.Authority(cls.shared, 'one')
        cls.other = world.Authority(cls.shared, 'two')
        cls.longer = world.Authority(cls.shared, 'three')

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared)

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix='tc-recorder.')
        self.egress = world.Egress(self.folder)
        self.recorders = []

    def tearDown(self):
        for recorder in self.recorders:
            recorder.close()
        self.egress.close()
        shutil.rmtree(self.folder)

    def recorder(self, *options):
        recorder = world.Recorder(LAB, self.egress, self.folder, '--bundle', self.root.pem, '--stall',
                                  STALL, *options)
        self.recorders.append(recorder)
        return recorder

    def serve(self, answer, name='good.test', context=None):
        server = world.Server(context or self.root.server(name), answer)
        self.egress.routes[name] = server
        return server

    def one_line(self, recorder, **expected):
        lines = recorder.finish()
        self.assertIsInstance(lines, list, lines)
        self.assertEqual(len(lines), 1, lines)
        for key, value in expected.items():
            self.assertEqual(lines[0].get(key), value, lines[0])
        return lines[0]

    def broken(self, recorder, *words):
        said = recorder.finish()
        self.assertIsInstance(said, str, said)
        for word in words:
            self.assertIn(word, said)


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=1)
