// The HTML report as a browser shows it: nothing is refused, nothing complains, in both schemes; it
// can be read on a phone and on paper, and its values are told to a finger and to the keyboard.
#include <algorithm>
#include <filesystem>
#include <sstream>

#include "support/temp_dir.h"
#include "system/integration/common.h"

namespace portpool::test {
namespace {

namespace fs = std::filesystem;

// Runs in the page, at whatever width it is shown: measures it, taps it, walks through a chart by
// keyboard, and tells.
constexpr const char* kProbe = R"js(
addEventListener('load', () => {
  const seen = (element) => element.getClientRects().length > 0;
  const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);
  const tip = document.getElementById('tip');
  const told = {width: innerWidth, overflow: document.documentElement.scrollWidth - innerWidth,
                smallest: 1e9, charts: all('svg').length, text: ''};
  for (const element of all('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own) continue;
    const scale = element.ownerSVGElement ? Math.hypot(element.getScreenCTM().a, element.getScreenCTM().b) : 1;
    const size = parseFloat(getComputedStyle(element).fontSize) * scale;
    if (size < told.smallest) [told.smallest, told.text] = [size, element.textContent];
  }
  // The first table has the figures; what scrolls sideways can be cut.
  const table = document.querySelector('main .scroll');
  told.cut = table ? table.scrollWidth - table.clientWidth : 0;
  const right = (cell) => cell.getBoundingClientRect().right;
  told.right = Math.max(0, ...[...table.querySelectorAll('td')].map(right));
  // Letters of one chart over each other.
  told.clashes = [];
  for (const svg of all('svg')) {
    const boxes = [...svg.querySelectorAll('text')].map((t) => t.getBoundingClientRect());
    for (const a of boxes) for (const b of boxes) {
      if (a !== b && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 &&
          b.top < a.bottom - 4) told.clashes.push([a.left, a.top, b.left, b.top].join());
    }
  }
  const svg = all('svg')[0];
  if (svg) {
    const stops = svg.querySelectorAll('[tabindex="0"]');
    told.stops = stops.length;
    stops[0].focus();
    told.first = tip.hidden ? '' : tip.textContent;
    told.named = stops[0].getAttribute('aria-label') === tip.textContent;
    const key = (name) => document.activeElement.dispatchEvent(
        new KeyboardEvent('keydown', {key: name, bubbles: true, cancelable: true}));
    key('ArrowRight');
    told.second = tip.hidden ? '' : tip.textContent;
    key('End');
    told.last = tip.hidden ? '' : tip.textContent;
    key('Escape');
    told.escaped = tip.hidden;
    const box = svg.querySelector('.strip:nth-of-type(5)').getBoundingClientRect();
    const tap = {clientX: box.left + box.width / 2, clientY: box.top + 20, pointerType: 'touch', bubbles: true};
    const strip = svg.querySelector('.strip:nth-of-type(5)');
    for (const kind of ['pointerdown', 'pointerup', 'pointerout']) {
      strip.dispatchEvent(new PointerEvent(kind, tap));
    }
    document.dispatchEvent(new PointerEvent('pointerleave', {pointerType: 'touch'}));
    told.tapped = tip.hidden ? '' : tip.textContent;
    const beside = tip.getBoundingClientRect();
    told.tip_inside = beside.left >= 0 && beside.right <= innerWidth;
  }
  const open = () => document.querySelectorAll('details').length ===
                     document.querySelectorAll('details[open]').length;
  told.open_before = open();
  dispatchEvent(new Event('beforeprint'));
  told.open_on_paper = open();
  dispatchEvent(new Event('afterprint'));
  told.open_after = open();
  const colour = (selector) => {
    const line = document.querySelector(selector);
    return line ? getComputedStyle(line).stroke : '';
  };
  told.pool = colour('.line.pool');
  told.pool_p99 = colour('.line.pool.p99');
  told.kernel = colour('.line.kernel');
  parent.postMessage(JSON.stringify(told), '*');
});
)js";

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

// Its path; "" where there is none.
std::string find_program(const std::string& name) {
  const char* path = getenv("PATH");
  std::string folders = path != nullptr ? path : "";
  while (!folders.empty()) {
    const std::string folder = folders.substr(0, folders.find(':'));
    folders.erase(0, folder.size() + 1);
    if (fs::exists(fs::path(folder) / name)) return fs::path(folder) / name;
  }
  return "";
}

std::string find_browser() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    if (std::string found = find_program(name); !found.empty()) return found;
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
    const auto is_done = [&] {
      return process.out().find("</html>") != std::string::npos ||
             process.err().find("bytes written to file") != std::string::npos;
    };
    EXPECT_TRUE(eventually([&] { return !process.running() || is_done(); })) << process.err();
    EXPECT_TRUE(is_done()) << process.err();
    // It may hang after that, on its way out.
    if (!eventually([&] { return !process.running(); }, std::chrono::seconds(5))) {
      process.signal(SIGKILL);
    }
    std::istringstream lines(process.err());
    for (std::string line; std::getline(lines, line);) {
      // The browser's own pages have complaints, too, on a slow machine.
      if (line.find("source: chrome://") != std::string::npos) continue;
      for (const char* complaint : {"CONSOLE", "Content Security Policy", "Refused to"}) {
        EXPECT_EQ(line.find(complaint), std::string::npos) << line;
      }
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

  // What kProbe finds where the page is so many pixels wide: in frames, since a window has 500 at
  // least, and side by side, since a browser takes seconds to start.
  std::vector<nlohmann::json> probe(const std::string& page, const std::vector<int>& widths) {
    std::string text = read_whole_file(page);
    const std::string before = "'nonce-";
    const std::size_t nonce = text.find(before) + before.size();
    const std::string script = "<script nonce=\"" +
                               text.substr(nonce, text.find('\'', nonce) - nonce) + "\">" + kProbe +
                               "</script>";
    text.insert(text.rfind("</body>"), script);
    directory.write("probed.html", text);
    std::string frames =
        "<body style='margin:0;white-space:nowrap'><script>const told = []; onmessage = (event) => "
        "{"
        "told.push(JSON.parse(event.data));"
        "document.body.dataset.told = encodeURIComponent(JSON.stringify(told)); };</script>";
    for (const int width : widths) {
      frames += "<iframe style='border:0;height:5000px;width:" + std::to_string(width) +
                "px' src='probed.html'></iframe>";
    }
    const std::string dom = browse(directory.write("frames.html", frames + "</body>"),
                                   {"--dump-dom", "--virtual-time-budget=20000"});
    const std::string mark = "data-told=\"";
    const std::size_t at = dom.find(mark);
    if (at == std::string::npos) {
      ADD_FAILURE() << dom.substr(0, 2000);
      return {};
    }
    std::string told;
    for (std::size_t i = at + mark.size(); dom[i] != '"'; ++i) {
      const bool coded = dom[i] == '%';
      told += coded ? static_cast<char>(std::stoi(dom.substr(i + 1, 2), nullptr, 16)) : dom[i];
      if (coded) i += 2;
    }
    return nlohmann::json::parse(told);
  }

  // That it can be read there, and used without a mouse.
  void expect_readable(const std::string& page) {
    const std::vector<int> widths{360, 719, 720, 1200};
    const std::vector<nlohmann::json> all = probe(page, widths);
    ASSERT_EQ(all.size(), widths.size());
    for (const nlohmann::json& told : all) {
      SCOPED_TRACE(told.dump());
      const int width = told.at("width");
      EXPECT_EQ(std::count(widths.begin(), widths.end(), width), 1);
      EXPECT_LE(told.at("overflow"), 0);
      EXPECT_LE(told.at("cut"), 0) << "a table's last column";
      EXPECT_LE(told.at("right"), width);
      EXPECT_GE(told.at("smallest"), 11.0);
      EXPECT_EQ(told.at("clashes"), nlohmann::json::array());
      EXPECT_GE(told.at("charts"), 2);
      EXPECT_EQ(told.at("stops"), 1);
      EXPECT_TRUE(told.at("named"));
      EXPECT_TRUE(told.at("first").get<std::string>().starts_with("p"));
      EXPECT_NE(told.at("second"), told.at("first"));
      EXPECT_NE(told.at("last"), told.at("second"));
      EXPECT_NE(told.at("last"), "");
      EXPECT_TRUE(told.at("escaped"));
      EXPECT_TRUE(told.at("tapped").get<std::string>().starts_with("p")) << "stays after the tap";
      EXPECT_TRUE(told.at("tip_inside"));
      EXPECT_FALSE(told.at("open_before"));
      EXPECT_TRUE(told.at("open_on_paper"));
      EXPECT_FALSE(told.at("open_after"));
    }
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
  const std::string page = make_report({"compare", "--block", "50ms"}, "1500");
  expect_good_page(page);
  expect_readable(page);
  EXPECT_NE(read_whole_file(page).find("kernel / pool"), std::string::npos);
}

// Both paths, each in its own colour.
TEST_F(HtmlReport, OfARun) {
  const std::string page = make_report({"run"}, "2500");
  expect_good_page(page);
  expect_readable(page);
  const nlohmann::json told = probe(page, {1000}).at(0);
  EXPECT_NE(told.at("pool"), "");
  EXPECT_EQ(told.at("pool"), told.at("pool_p99")) << "p99 is the pool's, too";
  EXPECT_NE(told.at("pool_p99"), told.at("kernel"));
  const std::string text = read_whole_file(page);
  EXPECT_NE(text.find(">pool</th>"), std::string::npos);
  EXPECT_NE(text.find(">kernel</th>"), std::string::npos) << "the first calls";
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  EXPECT_NE(text.find(std::string("<th scope=\"row\">host</th><td><code>") + host),
            std::string::npos);
  for (const char* name : {"processor model", "load average at the end"}) {
    EXPECT_NE(text.find(std::string("<th scope=\"row\">") + name + "</th>"), std::string::npos);
  }
}

// Every block, though the page hides them until they are asked for.
TEST_F(HtmlReport, OnPaper) {
  if (find_program("pdftotext").empty()) GTEST_SKIP() << "no pdftotext (Debian: poppler-utils)";
  const std::string page = make_report({"compare", "--block", "50ms"}, "1500");
  const std::string pdf = directory.file("report.pdf");
  browse(page, {"--print-to-pdf=" + pdf, "--no-pdf-header-footer"});
  Process reader({"pdftotext", "-layout", pdf, "-"});
  ASSERT_EQ(reader.wait(), 0) << reader.err();
  EXPECT_NE(reader.out().find("Every block"), std::string::npos) << reader.out();
  EXPECT_NE(reader.out().find("start, s"), std::string::npos) << reader.out();
}

TEST_F(HtmlReport, OfNothingAtAll) {
  const std::string page = make_report({"run", "--mode", "ab"}, "0");
  EXPECT_GT(picture(page, "1").size(), 5'000U);
  const std::string text = read_whole_file(page);
  EXPECT_NE(text.find("No verdict"), std::string::npos);
  EXPECT_NE(text.find("No connects in this time."), std::string::npos);
  const std::string run = read_whole_file(make_report({"run"}, "0"));
  EXPECT_NE(run.find("No connects in this time"), std::string::npos);
  for (const std::string& of : {text, run}) {
    EXPECT_EQ(of.find("&ndash;"), std::string::npos);
    EXPECT_EQ(of.find("p = 1"), std::string::npos);
  }
}

}  // namespace
}  // namespace portpool::test
