# Reads meta-data and #cloud-config, as far as this guest understands them: one fact a line goes out,
# `hostname NAME`, `key KEY` or `password HASH-OR-TEXT` (of root).
#
# YAML's block style with indentation, its flow style ([a, b], {a: b}) and so JSON, quotes, and literal blocks (|).
# Not YAML at large: no anchors, no folding, no multi-line strings in quotes.

{ text = text $0 "\n" }

END {
    depth = 0
    literal = -1
    bare = text
    gsub(/(^|\n)[ \t]*#[^\n]*/, "", bare)
    sub(/^[ \t\n]+/, "", bare)
    if (bare ~ /^[{[]/)
        flow(bare, 0)
    else {
        count = split(text, lines, "\n")
        for (n = 1; n <= count; n++)
            line(lines[n])
    }
}

# One line of block style.
function line(l,   indent, rest) {
    if (l ~ /^[ \t]*(#.*)?$/ || l ~ /^---/)
        return
    match(l, /^ */)
    indent = RLENGTH
    rest = substr(l, indent + 1)
    if (literal >= 0 && indent > literal) {
        fact(path(), rest)
        return
    }
    literal = -1
    while (rest ~ /^-( |$)/) {
        # An item of a list may stand as far left as the key of the list: half a step deeper than a key there.
        enter("-", 2 * indent + 1)
        match(rest, /^- */)
        indent += RLENGTH
        rest = substr(rest, RLENGTH + 1)
    }
    if (match(rest, /^("[^"]*"|'[^']*'|[A-Za-z0-9_.-]+) *:( |$)/)) {
        enter(plain(substr(rest, 1, index_of_colon(rest) - 1)), 2 * indent)
        rest = substr(rest, RLENGTH + 1)
        sub(/^ +/, "", rest)
        if (rest ~ /^[|>][-+]?[ \t]*$/) {
            literal = indent
            return
        }
    }
    if (rest ~ /^[[{]/)
        flow(rest, indent + 2)
    else if (rest != "")
        fact(path(), plain(rest))
}

function index_of_colon(t,   quote) {
    quote = substr(t, 1, 1)
    if (quote == "\"" || quote == "'")
        return index(substr(t, 2), quote) + 1 + index(substr(t, index(substr(t, 2), quote) + 2), ":")
    return index(t, ":")
}

function enter(name, level) {
    while (depth && levels[depth] >= level)
        depth--
    depth++
    levels[depth] = level
    names[depth] = name
}

function path(   made, n) {
    for (n = 1; n <= depth; n++)
        made = made "/" names[n]
    return made
}

# Text without its quotes, or without the comment after it.
function plain(t,   quote) {
    sub(/[ \t]+$/, "", t)
    quote = substr(t, 1, 1)
    if (quote == "\"" || quote == "'") {
        t = substr(t, 2)
        sub(quote "([ \t]+#.*)?$", "", t)
        if (quote == "\"")
            gsub(/\\\//, "/", t)
        return t
    }
    sub(/[ \t]+#.*$/, "", t)
    return t
}

# Flow style, made into lines of block style: each level is indented by two more.
function flow(t, indent,   i, c, quote, word, kind, top, dashed) {
    top = 0
    word = ""
    quote = ""
    for (i = 1; i <= length(t); i++) {
        c = substr(t, i, 1)
        if (quote != "") {
            word = word c
            if (c == "\\" && quote == "\"") {
                i++
                word = word substr(t, i, 1)
            } else if (c == quote)
                quote = ""
        } else if (c == "\"" || c == "'") {
            quote = c
            word = word c
        } else if (c == "{" || c == "[") {
            flow_line(word, indent + 2 * top, top && kind[top] == "[", 1)
            word = ""
            kind[++top] = c
        } else if (c == "}" || c == "]" || c == ",") {
            flow_line(word, indent + 2 * top, top && kind[top] == "[", 0)
            word = ""
            if (c != ",")
                top--
            if (top == 0)
                return
        } else if (c == ":" && (word ~ /["']$/ || substr(t, i + 1, 1) ~ /[ \n]/))
            word = word ": "
        else if (c != "\n")
            word = word c
    }
}

function flow_line(word, indent, item, opens) {
    gsub(/^[ \t]+|[ \t]+$/, "", word)
    if (word == "" && !(item && opens))
        return
    line(sprintf("%" indent "s%s%s", "", item ? "- " : "", word))
}

function fact(where, value) {
    if (where == "/local-hostname" || where == "/hostname")
        print "hostname " value
    else if (where ~ /\/(public-keys|public_keys|ssh_authorized_keys|ssh-authorized-keys)(\/|$)/) {
        if (value ~ /^(ssh-|ecdsa-|sk-)/)
            print "key " value
    } else if (where == "/password")
        print "password " value
    else if (where ~ /^\/chpasswd\/list(\/-)?$/) {
        if (value ~ /^root:/)
            print "password " substr(value, 6)
    } else if (where ~ /^\/chpasswd\/users\/-\/(name|password)$/) {
        if (where ~ /name$/)
            user = value
        else
            secret = value
        if (user != "" && secret != "") {
            if (user == "root")
                print "password " secret
            user = secret = ""
        }
    }
}
