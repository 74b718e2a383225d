"""cvc5 as a program, from its Python package: SMT-LIB commands on standard input, answers on standard output. Of its options it knows --tlimit-per."""

import re
import sys

import cvc5

LIMITS = [argument.split("=", 1)[1] for argument in sys.argv[1:] if argument.startswith("--tlimit-per=")]


def new():
    terms = cvc5.TermManager()
    solver = cvc5.Solver(terms)
    for limit in LIMITS:
        solver.setOption("tlimit-per", limit)
    return solver, cvc5.SymbolManager(terms)


# Neither strings, nor quoted symbols, nor comments count for parentheses.
PLAIN = re.compile(r'"[^"]*"|\|[^|]*\||;[^\n]*')
solver, symbols = new()
pending = ""
for line in sys.stdin:
    pending += line
    plain = PLAIN.sub("", pending)
    if plain.count("(") != plain.count(")") or '"' in plain or "|" in plain:
        continue
    text, pending = pending, ""
    if plain.strip() == "(reset)":
        solver, symbols = new()
        continue
    try:
        parser = cvc5.InputParser(solver, symbols)
        parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "stdin")
        while not (command := parser.nextCommand()).isNull():
            sys.stdout.write(command.invoke(solver, symbols))
    except Exception as error:
        sys.stdout.write('(error "%s")\n' % str(error).replace('"', "'").replace("\n", " "))
    sys.stdout.flush()
