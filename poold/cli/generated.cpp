#include "cli/generated.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "cli/manual_pages.h"
#include "cli/roff.h"

namespace portpool {
namespace {

std::vector<const CLI::App*> commands_to_show(const CLI::App& program) {
  return program.get_subcommands(
      [](const CLI::App* command) { return !command->get_group().empty(); });
}

std::vector<const CLI::Option*> options_of(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return option->nonpositional(); });
}

// "--json", or "-h" of an option that has no long name.
std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

bool takes_a_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// Of the type "TEXT:{pool,kernel}": pool, kernel.
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t open = type.find('{');
  std::vector<std::string> choices;
  if (open == type.npos) return choices;
  std::string_view rest = std::string_view(type).substr(open + 1);
  rest = rest.substr(0, rest.find('}'));
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    choices.emplace_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return choices;
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  return fmt::format("{}", fmt::join(words, between));
}

std::string option_entry(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : names_of(option)) names.push_back(in_bold(name));
  std::string entry = ".TP\n" + joined(names, ", ");
  if (takes_a_value(option)) entry += " " + in_italics(option.get_type_name());
  entry += "\n" + roff(option.get_description());
  if (!option.get_default_str().empty()) entry += roff(" [" + option.get_default_str() + "]");
  if (!option.get_envname().empty()) entry += roff(" (environment: " + option.get_envname() + ")");
  return entry + "\n";
}

std::string synopsis_of(const CLI::App& command) {
  std::string synopsis = ".B poold " + roff(command.get_name()) + "\n[\\fIOPTIONS\\fR]";
  for (const CLI::Option* option : command.get_options()) {
    if (option->nonpositional()) continue;
    const std::string type = option->get_type_name();
    synopsis += " " + in_italics(type.empty() ? option->get_name() : type);
  }
  return synopsis + "\n";
}

std::string page_of_command(const CLI::App& command) {
  std::string page = page_heading("poold-" + command.get_name(), 8, command.get_description());
  page += ".SH SYNOPSIS\n" + synopsis_of(command) + ".SH OPTIONS\n";
  for (const CLI::Option* option : options_of(command)) page += option_entry(*option);
  if (!command.get_footer().empty()) page += ".SH NOTES\n" + roff(command.get_footer()) + "\n";
  return page + ".SH SEE ALSO\n.BR poold (8)\n";
}

std::string page_of_program(const CLI::App& program) {
  std::string page =
      page_heading("poold", 8, "source ports for programs that open many outgoing connections");
  page += ".SH SYNOPSIS\n.B poold\n\\fICOMMAND\\fR [\\fIOPTIONS\\fR] ...\n.SH COMMANDS\n";
  std::string pages;
  for (const CLI::App* command : commands_to_show(program)) {
    page += tagged(in_bold(command->get_name()), command->get_description());
    pages +=
        fmt::format("{}.BR poold\\-{} (8)", pages.empty() ? "" : ",\n", roff(command->get_name()));
  }
  page += ".SH OPTIONS\n";
  for (const CLI::Option* option : options_of(program)) page += option_entry(*option);
  page += ".SH ENVIRONMENT\n" + environment_entries();
  return page + ".SH SEE ALSO\n" + pages + ",\n.BR poold.toml (5),\n.BR libportpool (7)\n";
}

std::string names_of_commands(const CLI::App& program, std::string_view between) {
  std::vector<std::string> names;
  for (const CLI::App* command : commands_to_show(program)) names.push_back(command->get_name());
  return joined(names, between);
}

std::string words_for_options(const CLI::App& command) {
  std::vector<std::string> words;
  for (const CLI::Option* option : options_of(command)) {
    for (const std::string& name : names_of(*option)) words.push_back(name);
  }
  return joined(words, " ");
}

}  // namespace

std::string manual_page(const CLI::App& program, const CLI::App* command) {
  return filled(command != nullptr ? page_of_command(*command) : page_of_program(program));
}

std::string list_of_commands(const CLI::App& program) {
  return names_of_commands(program, "\n") + "\n";
}

std::string bash_completion(const CLI::App& program) {
  std::string commands;
  std::string choices;
  for (const CLI::App* command : commands_to_show(program)) {
    commands += fmt::format("    {}) words={} ;;\n", command->get_name(),
                            shell_quote(words_for_options(*command)));
    for (const CLI::Option* option : options_of(*command)) {
      const std::vector<std::string> values = choices_of(*option);
      if (values.empty()) continue;
      choices += fmt::format("    '{} {}') values={} ;;\n", command->get_name(),
                             names_of(*option).back(), shell_quote(joined(values, " ")));
    }
  }
  return fmt::format(
      R"(# Completion of poold for bash.
_poold() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command= words= values= i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    if [[ ${{COMP_WORDS[i]}} != -* ]]; then
      command=${{COMP_WORDS[i]}}
      break
    fi
  done
  case $command in
    '') words={} ;;
{}  esac
  case "$command $before" in
{}  esac
  if [[ -n $values ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
  elif [[ -z $command || $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  else
    mapfile -t COMPREPLY < <(compgen -A file -- "$word")
  fi
}}
complete -o filenames -F _poold poold
)",
      shell_quote(names_of_commands(program, " ") + " " + words_for_options(program)), commands,
      choices);
}

std::string zsh_completion(const CLI::App& program) {
  // In _arguments a colon and a bracket end a part.
  const auto part = [](std::string_view text) {
    std::string escaped;
    for (const char c : text) {
      if (std::string_view("\\:[]").find(c) != std::string_view::npos) escaped += '\\';
      escaped += c;
    }
    return escaped;
  };
  std::string commands;
  std::string cases;
  for (const CLI::App* command : commands_to_show(program)) {
    commands += "    " +
                shell_quote(part(command->get_name()) + ":" + part(command->get_description())) +
                "\n";
    cases += fmt::format("    {})\n      _arguments", command->get_name());
    for (const CLI::Option* option : options_of(*command)) {
      const std::vector<std::string> values = choices_of(*option);
      std::string value;
      if (takes_a_value(*option)) {
        value = ":value:" + (values.empty() ? "_files" : "(" + joined(values, " ") + ")");
      }
      for (const std::string& name : names_of(*option)) {
        cases += fmt::format(
            " \\\n        {}",
            shell_quote(fmt::format("{}[{}]{}", name, part(option->get_description()), value)));
      }
    }
    cases += " \\\n        '*:argument:_files' ;;\n";
  }
  return fmt::format(R"(#compdef poold
# Completion of poold for zsh.
local -a commands
commands=(
{})
if (( CURRENT == 2 )); then
  _describe command commands
else
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{}  esac
fi
)",
                     commands, cases);
}

std::string fish_completion(const CLI::App& program) {
  std::string text = "# Completion of poold for fish.\n";
  for (const CLI::App* command : commands_to_show(program)) {
    text += fmt::format("complete -c poold -n __fish_use_subcommand -f -a {} -d {}\n",
                        command->get_name(), shell_quote(command->get_description()));
    for (const CLI::Option* option : options_of(*command)) {
      text +=
          fmt::format("complete -c poold -n '__fish_seen_subcommand_from {}'", command->get_name());
      for (const std::string& name : option->get_snames()) text += " -s " + name;
      for (const std::string& name : option->get_lnames()) text += " -l " + name;
      if (takes_a_value(*option)) text += " -r";
      if (const auto values = choices_of(*option); !values.empty()) {
        text += " -f -a " + shell_quote(joined(values, " "));
      }
      text += " -d " + shell_quote(option->get_description()) + "\n";
    }
  }
  return text;
}

}  // namespace portpool
