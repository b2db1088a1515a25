"""CPython's network tests, of the package libpythonX.Y-testsuite for the system's python3."""

import os
import shutil
import xml.etree.ElementTree

import debian

from .suite import Suite

PYTHON = "/usr/bin/python3"
# Of asyncio's what has to do with descriptors.
LARGE = """test_asyncio.test_base_events test_asyncio.test_buffered_proto test_asyncio.test_events
 test_asyncio.test_selector_events test_asyncio.test_sendfile test_asyncio.test_server
 test_asyncio.test_sock_lowlevel test_asyncio.test_ssl test_asyncio.test_sslproto
 test_asyncio.test_streams test_asyncio.test_subprocess test_asyncio.test_unix_events
 test_asyncore test_asynchat test_docxmlrpc test_epoll test_ftplib test_httplib test_httpservers
 test_imaplib test_logging test_multiprocessing_fork test_nntplib test_poll test_poplib
 test_robotparser test_select test_selectors test_smtpd test_smtplib test_socket test_socketserver
 test_ssl test_subprocess test_telnetlib test_timeout test_urllib test_urllib2 test_urllib2_localnet
 test_wsgiref test_xmlrpc""".split()
# VSOCK hangs where the machine has half of it, and takes its module's other results with it.
LEFT_OUT = ["*VSOCK*"]
SMALL = "test_asynchat test_httplib test_smtplib test_urllib2_localnet".split()


class CPython(Suite):
    name = "cpython"
    files = "cpython"
    modules = LARGE

    def prepare(self, folder):
        """Where the package is not installed, its tests are put beside those of the interpreter."""
        release = debian.run([PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                             folder).strip()
        name = f"libpython{release}-testsuite"
        library = os.path.join(folder, "library")
        shutil.rmtree(library, ignore_errors=True)
        if version := debian.installed(name):
            return version
        unpacked, version = debian.package(name, folder)
        for origin in ("/usr/lib", os.path.join(unpacked, "usr/lib")):
            shutil.copytree(os.path.join(origin, f"python{release}/test"),
                            os.path.join(library, "test"), dirs_exist_ok=True)
        return version

    def command(self, folder, work):
        ignored = [word for pattern in LEFT_OUT for word in ("-i", pattern)]
        argv = [PYTHON, "-m", "test", "-v", "-j2", "-u", "network", "--timeout", "300", *ignored,
                "--junit-xml", os.path.join(work, "results.xml"), *self.modules]
        return argv, {"PYTHONPATH": os.path.join(folder, "library")}

    def results(self, folder, work):
        found = {}
        report = os.path.join(work, "results.xml")
        if not os.path.exists(report):  # given up
            return found
        root = xml.etree.ElementTree.parse(report).getroot()
        for case in root.iter("testcase"):
            kinds = [kind for kind in ("error", "failure", "skipped") if case.find(kind) is not None]
            if case.get("name"):
                found[case.get("name")] = kinds[0] if kinds else case.get("result", "passed")
        return found


class CPythonSmall(CPython):
    """What runs with portpool's own tests."""

    name = "cpython-small"
    by_default = False
    modules = SMALL
    seconds = 60


class CPythonSample(CPython):
    """What is run under a library that breaks something (comparison_test.py)."""

    name = "cpython-sample"
    by_default = False
    modules = ["test_urllib2_localnet"]
    seconds = 60
