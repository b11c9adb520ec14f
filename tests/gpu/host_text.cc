// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/host_text.h"

#include <fmt/core.h>

#include <cctype>
#include <regex>
#include <vector>

#include "base/error.h"

namespace vitrail {
namespace {

struct Statement {
  std::string instructions;
  std::vector<std::string> operands;
  size_t end;  // behind its semicolon
};

// The asm statement whose parenthesis opens at `i`.
Statement parse(const std::string& s, size_t i) {
  Statement out;
  int depth = 0, section = 0;
  for (; i < s.size(); ++i) {
    const char c = s[i];
    if (c == '"') {
      std::string literal;
      for (++i; s[i] != '"'; ++i) {
        if (s[i] != '\\')
          literal += s[i];
        else if (s[++i] == 'n')
          literal += '\n';
        else
          throw Error(Code::internal, "an escape in an asm statement");
      }
      if (section == 0) out.instructions += literal;
    } else if (c == '(' && ++depth == 2) {
      const size_t begin = i + 1;
      for (int inner = 1; inner > 0;) ++i, inner += (s[i] == '(') - (s[i] == ')');
      --depth;
      if (section <= 2) out.operands.push_back(s.substr(begin, i - begin));
    } else if (c == ')') {
      out.end = s.find(';', i) + 1;
      return out;
    } else if (c == ':') {
      ++section;
    }
  }
  throw Error(Code::internal, "an asm statement without an end");
}

std::string trimmed(const std::string& s) {
  const size_t begin = s.find_first_not_of(" \t\n"), end = s.find_last_not_of(" \t\n");
  return begin == std::string::npos ? "" : s.substr(begin, end - begin + 1);
}

std::vector<std::string> split(const std::string& s, const char* at) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= s.size();) {
    const size_t end = std::min(s.find_first_of(at, begin), s.size());
    if (std::string part = trimmed(s.substr(begin, end - begin)); !part.empty())
      out.push_back(std::move(part));
    begin = end + 1;
  }
  return out;
}

std::string operand(const std::string& word, const Statement& statement) {
  if (word.rfind("%%", 0) == 0)
    return "emulation::special_" + std::regex_replace(word.substr(2), std::regex("\\."), "_") +
           "()";
  if (word[0] == '%') return "(" + statement.operands.at(std::stoul(word.substr(1))) + ")";
  if (word.rfind("0f", 0) == 0) return "emulation::of_bits(0x" + word.substr(2) + "u)";
  return word;  // a literal, or a register of the statement's own
}

std::string calls(const Statement& statement, std::set<std::string>& functions) {
  std::string out = "{ ";
  std::string text = statement.instructions;
  // Braces around the whole statement, not those of vectors.
  if (text.rfind("{\n", 0) == 0) text = text.substr(1, text.rfind('}') - 1);
  for (const std::string& line : split(text, ";\n")) {
    if (line.back() == ':' || line.rfind("bra ", 0) == 0 || line[0] == '@') continue;  // waits loop
    const size_t space = std::min(line.find(' '), line.size());
    std::string name = line.substr(0, space), rest = line.substr(space);
    if (name == ".reg") {
      out += "unsigned long long " + split(rest, " ").at(1) + " = 0; ";
      continue;
    }
    name = std::regex_replace(name, std::regex("[.:]"), "_");
    name = std::regex_replace(name, std::regex("_m64n\\d+k16"), "_m64k16");
    functions.insert(name);
    std::string arguments;
    for (const std::string& word : split(rest, ", {}[]"))
      arguments += (arguments.empty() ? "" : ", ") + operand(word, statement);
    out += fmt::format("emulation::{}({}); ", name, arguments);
  }
  return out + "}";
}

// The number of operands is the text's own, so std::regex_replace cannot do this.
std::string without_assembly(const std::string& s, std::set<std::string>& functions) {
  static const std::regex pattern("\\basm( volatile)?\\s*\\(");
  std::string out;
  size_t done = 0;
  for (std::sregex_iterator i(s.begin(), s.end(), pattern), end; i != end; ++i) {
    const auto begin = static_cast<size_t>(i->position());
    if (begin < done) continue;
    const Statement statement = parse(s, begin + static_cast<size_t>(i->length()) - 1);
    out += s.substr(done, begin - done) + calls(statement, functions);
    done = statement.end;
  }
  return out + s.substr(done);
}

// The arrays become members, so that a declaration of several keeps its syntax.
std::string static_arrays(const std::string& s) {
  static const std::regex pattern("__shared__ ([^;]+);");
  std::string out;
  size_t done = 0;
  int number = 0;
  for (std::sregex_iterator i(s.begin(), s.end(), pattern), end; i != end; ++i, ++number) {
    out += s.substr(done, static_cast<size_t>(i->position()) - done);
    done = static_cast<size_t>(i->position() + i->length());
    out += fmt::format(
        "struct VtStatic{0} {{ {1}; }}; VtStatic{0}& vt_static{0} = "
        "*reinterpret_cast<VtStatic{0}*>(emulation::static_shared({0}, sizeof(VtStatic{0})));",
        number, (*i)[1].str());
    // Names are the words before the first bracket of each declarator.
    int depth = 0;
    std::string declarator;
    const auto declare = [&] {
      const std::string own = split(declarator.substr(0, declarator.find('[')), " ").back();
      out += fmt::format(" auto& {0} = vt_static{1}.{0};", own, number);
      declarator.clear();
    };
    for (const char c : (*i)[1].str()) {
      depth += (c == '[') - (c == ']');
      if (c == ',' && depth == 0)
        declare();
      else
        declarator += c;
    }
    declare();
  }
  return out + s.substr(done);
}

}  // namespace

HostText host_text(const GpuCode& code, const GpuMachine& machine) {
  HostText out;
  std::string s = std::regex_replace(code.source, std::regex("//[^\n]*"), "");
  // An instruction for other machines only is not asked for.
  s = std::regex_replace(s, std::regex("#if __CUDA_ARCH__ >= (\\d+)\n([^#]*)#endif"),
                         machine.sm >= 90 ? "$2" : "");
  s = without_assembly(s, out.functions);
  s = std::regex_replace(
      s, std::regex("extern __shared__ (?:__align__\\(\\d+\\) )?([\\w ]+) (\\w+)\\[\\];"),
      "$1* $2 = reinterpret_cast<$1*>(emulation::dynamic_shared());");
  s = static_arrays(s);
  out.text = "#include \"emulation_ptx.h\"\n#define __CUDA_ARCH__ " +
             std::to_string(10 * machine.sm) + "\n" + s +
             "\nextern \"C\" const char* vt_emulate(int launch, const emulation::Shape* shape, "
             "const unsigned long long* words) {\n  switch (launch) {\n";
  for (size_t i = 0; i < code.launches.size(); ++i)
    out.text += fmt::format("    case {}: return emulation::run({}, *shape, words);\n", i,
                            code.launches[i].entry);
  out.text += "  }\n  return \"no such launch\";\n}\n";
  return out;
}

}  // namespace vitrail
