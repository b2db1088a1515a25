// The HTML report as a browser shows it: nothing is refused, nothing complains, in both schemes.
#include <filesystem>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

// Connects, echoes and closes with a reset for so many milliseconds.
GUEST(connects_for) {
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(std::stoi(arguments.at(1)));
  const SocketAddress destination(arguments.at(0));
  while (std::chrono::steady_clock::now() < end) {
    const int fd = connected_socket(destination);
    CHECK_THAT(fd >= 0 && echo_round_trip(fd));
    close_with_reset(fd);
  }
}

std::string find_browser() {
  const char* path = getenv("PATH");
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    std::string folders = path != nullptr ? path : "";
    while (!folders.empty()) {
      const std::string folder = folders.substr(0, folders.find(':'));
      folders.erase(0, folder.size() + 1);
      if (fs::exists(fs::path(folder) / name)) return fs::path(folder) / name;
    }
  }
  return "";
}

class HtmlReport : public EchoNet {
 protected:
  void SetUp() override {
    if (browser.empty()) GTEST_SKIP() << "no Chromium; packaging/install-deps.sh test installs it";
  }

  // Makes a report by `poold` with these words; the guest's command line holds what must not become
  // part of the page.
  std::string make_report(std::vector<std::string> words, const std::string& milliseconds) {
    std::string page = directory.file("report.html");
    words.insert(words.begin(), poold_path());
    words.insert(words.end(), {"--report", page, "--"});
    for (const std::string& word :
         guest_command("connects_for", {kEcho, milliseconds, "<script>alert('no')</script>"})) {
      words.push_back(word);
    }
    Process process(words, {"TMPDIR=" + directory.path(), "XDG_RUNTIME_DIR=" + directory.path(),
                            "PORTPOOL_SOCKET=" + directory.file("no-daemon"), kBeginAttached});
    EXPECT_EQ(process.wait(), 0) << process.err();
    EXPECT_TRUE(fs::exists(page)) << process.err();
    return page;
  }

  // Runs the browser; what the page's console got would be in its words.
  std::string browse(const std::string& page, const std::vector<std::string>& options) {
    std::vector<std::string> words{browser,
                                   "--headless",
                                   "--no-sandbox",
                                   "--disable-gpu",
                                   "--disable-dev-shm-usage",
                                   "--hide-scrollbars",
                                   "--user-data-dir=" + profile.path(),
                                   "--enable-logging=stderr",
                                   "--window-size=1000,3600"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back("file://" + page);
    Process process(words, {"HOME=" + profile.path()});
    EXPECT_EQ(process.wait(), 0) << process.err();
    for (const char* complaint : {"CONSOLE", "Content Security Policy", "Refused to"}) {
      EXPECT_EQ(process.err().find(complaint), std::string::npos) << process.err();
    }
    return process.out();
  }

  std::string picture(const std::string& page, const std::string& scheme) {
    // PORTPOOL_TEST_PICTURES: a folder that keeps them, to look at.
    const char* kept = getenv("PORTPOOL_TEST_PICTURES");
    const std::string name =
        std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + "-" +
        (scheme == "0" ? "dark" : "light") + ".png";
    const std::string file =
        kept != nullptr ? std::string(kept) + "/" + name : directory.file(name);
    browse(page, {"--blink-settings=preferredColorScheme=" + scheme, "--screenshot=" + file});
    return read_whole_file(file);
  }

  void expect_good_page(const std::string& page) {
    const std::string dark = picture(page, "0");
    const std::string light = picture(page, "1");
    EXPECT_TRUE(dark.starts_with("\x89PNG"));
    EXPECT_GT(dark.size(), 20'000U);
    EXPECT_GT(light.size(), 20'000U);
    EXPECT_NE(dark, light);
    // The script ran: it has taken the pictures' titles into its own care.
    const std::string dom = browse(page, {"--dump-dom"});
    EXPECT_NE(dom.find("</svg>"), std::string::npos);
    EXPECT_NE(read_whole_file(page).find("<title>p50"), std::string::npos);
    EXPECT_EQ(dom.find("<title>p50"), std::string::npos);
    EXPECT_EQ(dom.find("<script>"), std::string::npos) << "only the page's own, with its nonce";
    EXPECT_NE(dom.find("&lt;script&gt;alert("), std::string::npos);
  }

  const std::string browser = find_browser();
  TempDir directory;
  TempDir profile;
};

TEST_F(HtmlReport, OfAComparison) {
  expect_good_page(make_report({"compare", "--block", "50ms"}, "1500"));
}

TEST_F(HtmlReport, OfARun) { expect_good_page(make_report({"run"}, "2500")); }

TEST_F(HtmlReport, OfNothingAtAll) {
  const std::string page = make_report({"run", "--mode", "ab"}, "0");
  EXPECT_GT(picture(page, "1").size(), 5'000U);
  EXPECT_NE(read_whole_file(page).find("No verdict"), std::string::npos);
}

}  // namespace
}  // namespace portpool::test
