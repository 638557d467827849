#include "apps/eval/generator/gallery.h"

#include <algorithm>
#include <iomanip>
#include <map>
#include <sstream>

namespace lexel::eval {
namespace {

constexpr const char* kStyle =
    "body{font:14px sans-serif;margin:2em;color:#1f2937}section{margin-bottom:2em}"
    "div{display:flex;flex-wrap:wrap;gap:12px}figure{margin:0;width:128px}"
    "img{width:128px;height:128px;display:block}figcaption{font-size:12px;overflow-wrap:anywhere}";

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

}  // namespace

std::vector<Prompt> chosen_prompts(const std::vector<Prompt>& prompts, int64_t per_category) {
  std::map<std::string, int64_t> taken;
  std::vector<Prompt> chosen;
  for (const Prompt& prompt : prompts) {
    if (per_category == 0 || taken[prompt.category]++ < per_category) chosen.push_back(prompt);
  }
  return chosen;
}

std::string gallery_picture(size_t number) {
  std::ostringstream name;
  name << "pictures/" << std::setw(4) << std::setfill('0') << number + 1 << ".png";
  return name.str();
}

std::string gallery_page(const std::vector<Prompt>& prompts, const std::string& note) {
  std::vector<std::string> categories;
  for (const Prompt& prompt : prompts) {
    if (std::ranges::find(categories, prompt.category) == categories.end())
      categories.push_back(prompt.category);
  }
  std::ostringstream page;
  page << "<!doctype html><meta charset=\"utf-8\"><title>Prompts</title><style>" << kStyle
       << "</style>\n<h1>" << prompts.size() << " prompts</h1>\n<p>" << escaped(note) << "</p>\n";
  for (const std::string& category : categories) {
    page << "<section><h2>" << escaped(category) << "</h2><div>\n";
    for (size_t i = 0; i < prompts.size(); ++i) {
      const Prompt& prompt = prompts[i];
      if (prompt.category != category) continue;
      page << "<figure title=\"" << escaped(prompt.challenge + ": " + prompt.note)
           << "\"><img loading=\"lazy\" src=\"" << gallery_picture(i) << "\" alt=\"\"><figcaption>"
           << escaped(prompt.text) << "</figcaption></figure>\n";
    }
    page << "</div></section>\n";
  }
  return page.str();
}

}  // namespace lexel::eval
