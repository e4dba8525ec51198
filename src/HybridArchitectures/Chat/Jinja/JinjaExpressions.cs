using System.Globalization;

namespace HybridArchitectures.Chat.Jinja;

/// <summary>Parses expressions. Each becomes a function from the variables to a value.</summary>
class JinjaExpressions
{
    const int MaxDepth = 200, MaxLinks = 250;

    readonly List<JinjaToken> tokens;
    int depth, links;

    protected JinjaExpressions(List<JinjaToken> tokens) => this.tokens = tokens;

    protected int At { get; set; }

    protected JinjaToken Token => tokens[At];

    protected InvalidDataException Bad(string why) => new($"chat template, line {Token.Line}: {why}");

    protected InvalidDataException Unexpected(string expected) =>
        Bad($"found {(Token.Kind == JinjaKind.End ? "the end" : $"\"{Token.Text}\"")}; expected {expected}");

    protected bool Is(string text) => Token.Kind is JinjaKind.Sign or JinjaKind.Name && Token.Text == text;

    protected bool Skip(string text)
    {
        if (!Is(text)) return false;
        At++;
        return true;
    }

    protected void Require(string text)
    {
        if (!Skip(text)) throw Unexpected($"\"{text}\"");
    }

    protected string RequireName()
    {
        if (Token.Kind != JinjaKind.Name) throw Unexpected("a name");
        return tokens[At++].Text;
    }

    // each operator adds a level to the evaluation, and the stack is limited
    void Link()
    {
        if (++links > MaxLinks) throw Bad($"more than {MaxLinks} operators in an expression");
    }

    /// <summary>Parses an expression. Several expressions with commas between them form a tuple.</summary>
    protected Func<JinjaScope, object?> ReadList()
    {
        var first = Read();
        if (!Is(",")) return first;
        List<Func<JinjaScope, object?>> items = [first];
        while (Skip(",") && Token.Kind != JinjaKind.TagEnd && !Is(")") && !Is("=")) items.Add(Read());
        return scope => new JinjaTuple(items.ConvertAll(item => item(scope)));
    }

    /// <summary>Parses an expression.</summary>
    protected Func<JinjaScope, object?> Read()
    {
        if (depth == 0) links = 0;
        if (++depth > MaxDepth) throw Bad($"more than {MaxDepth} nested expressions");
        var value = ReadOr();
        while (Skip("if"))
        {
            Link();
            var (then, condition) = (value, ReadOr());
            Func<JinjaScope, object?> otherwise = Skip("else") ? Read() : _ => JinjaValue.Undefined;
            value = scope => JinjaValue.IsTrue(condition(scope)) ? then(scope) : otherwise(scope);
        }
        depth--;
        return value;
    }

    protected Func<JinjaScope, object?> ReadOr()
    {
        var left = ReadAnd();
        while (Skip("or"))
        {
            Link();
            var (a, b) = (left, ReadAnd());
            left = scope => a(scope) is var value && JinjaValue.IsTrue(value) ? value : b(scope);
        }
        return left;
    }

    Func<JinjaScope, object?> ReadAnd()
    {
        var left = ReadNot();
        while (Skip("and"))
        {
            Link();
            var (a, b) = (left, ReadNot());
            left = scope => a(scope) is var value && !JinjaValue.IsTrue(value) ? value : b(scope);
        }
        return left;
    }

    Func<JinjaScope, object?> ReadNot()
    {
        if (!Skip("not")) return ReadComparison();
        if (++depth > MaxDepth) throw Bad($"more than {MaxDepth} nested expressions");
        var value = ReadNot();
        depth--;
        return scope => !JinjaValue.IsTrue(value(scope));
    }

    Func<JinjaScope, object?> ReadComparison()
    {
        var left = ReadSum();
        while (ReadRelation() is { } relation)
        {
            Link();
            var (a, b) = (left, ReadSum());
            left = scope => Holds(relation, a(scope), b(scope));
        }
        return left;
    }

    string? ReadRelation()
    {
        if (Is("not") && tokens[At + 1] is { Kind: JinjaKind.Name, Text: "in" })
        {
            At += 2;
            return "not in";
        }
        foreach (string relation in (ReadOnlySpan<string>)["==", "!=", "<=", ">=", "<", ">", "in"])
            if (Skip(relation)) return relation;
        return null;
    }

    static bool Holds(string relation, object? left, object? right) => relation switch
    {
        "==" => JinjaValue.AreEqual(left, right),
        "!=" => !JinjaValue.AreEqual(left, right),
        "in" => JinjaValue.Contains(right, left),
        "not in" => !JinjaValue.Contains(right, left),
        "<" => JinjaValue.Compare(left, right) < 0,
        ">" => JinjaValue.Compare(left, right) > 0,
        "<=" => JinjaValue.Compare(left, right) <= 0,
        _ => JinjaValue.Compare(left, right) >= 0,
    };

    Func<JinjaScope, object?> ReadSum() => ReadOperators(ReadConcatenation, ["+", "-"]);

    Func<JinjaScope, object?> ReadConcatenation()
    {
        var left = ReadProduct();
        while (Skip("~"))
        {
            Link();
            var (a, b) = (left, ReadProduct());
            left = scope => JinjaValue.Joined([JinjaValue.Text(a(scope)), JinjaValue.Text(b(scope))], "");
        }
        return left;
    }

    Func<JinjaScope, object?> ReadProduct() => ReadOperators(ReadPower, ["*", "/", "//", "%"]);

    // from left to right, and signs bind more tightly: unlike Python, like Jinja2
    Func<JinjaScope, object?> ReadPower() => ReadOperators(() => ReadUnary(filtered: true), ["**"]);

    Func<JinjaScope, object?> ReadOperators(Func<Func<JinjaScope, object?>> operand, string[] signs)
    {
        var left = operand();
        while (Token.Kind == JinjaKind.Sign && signs.Contains(Token.Text))
        {
            Link();
            string sign = tokens[At++].Text;
            var (a, b) = (left, operand());
            left = scope => JinjaValue.Arithmetic(sign, a(scope), b(scope));
        }
        return left;
    }

    Func<JinjaScope, object?> ReadUnary(bool filtered)
    {
        if (++depth > MaxDepth) throw Bad($"more than {MaxDepth} nested expressions");
        Func<JinjaScope, object?> value;
        if (Skip("-"))
        {
            var positive = ReadUnary(filtered: false);
            value = scope => JinjaValue.Arithmetic("-", 0L, positive(scope));
        }
        else if (Skip("+")) value = ReadUnary(filtered: false);
        else value = ReadPostfix(ReadPrimary());
        depth--;
        return filtered ? ReadFilters(value) : value;
    }

    Func<JinjaScope, object?> ReadPrimary()
    {
        var token = Token;
        if (token.Kind == JinjaKind.String)
        {
            string text = "";
            while (Token.Kind == JinjaKind.String) text += tokens[At++].Text;
            return _ => text;
        }
        if (token.Kind == JinjaKind.Number)
        {
            At++;
            if (long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out long whole)) return _ => whole;
            return double.TryParse(token.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out double real) ? _ => real
                : throw Bad($"\"{token.Text}\" is not a number");
        }
        if (token.Kind == JinjaKind.Name)
        {
            At++;
            return token.Text switch
            {
                "true" or "True" => _ => true,
                "false" or "False" => _ => false,
                "none" or "None" => _ => null,
                var name => scope => scope.Get(name),
            };
        }
        if (Skip("(")) return ReadParentheses();
        if (Skip("[")) return ReadItems("]");
        return Skip("{") ? ReadMapping() : throw Unexpected("a value");
    }

    Func<JinjaScope, object?> ReadParentheses()
    {
        if (Skip(")")) return _ => new JinjaTuple([]);
        var value = ReadList();
        Require(")");
        return value;
    }

    Func<JinjaScope, object?> ReadItems(string close)
    {
        var items = new List<Func<JinjaScope, object?>>();
        while (!Skip(close))
        {
            items.Add(Read());
            if (!Is(close)) Require(",");
        }
        return scope => items.ConvertAll(item => item(scope));
    }

    Func<JinjaScope, object?> ReadMapping()
    {
        var items = new List<(Func<JinjaScope, object?> Name, Func<JinjaScope, object?> Value)>();
        while (!Skip("}"))
        {
            var name = Read();
            Require(":");
            items.Add((name, Read()));
            if (!Is("}")) Require(",");
        }
        return scope =>
        {
            var map = new Dictionary<string, object?>(StringComparer.Ordinal);
            foreach (var (name, value) in items) map[JinjaValue.Text(name(scope))] = value(scope);
            return map;
        };
    }

    Func<JinjaScope, object?> ReadPostfix(Func<JinjaScope, object?> value)
    {
        while (true)
        {
            var inner = value;
            if (Is(".") || Is("[") || Is("(")) Link();
            if (Skip("."))
            {
                if (Token.Kind == JinjaKind.Number)
                {
                    string number = tokens[At++].Text;
                    if (!long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long index))
                        throw Bad($"\"{number}\" is no index");
                    value = scope => JinjaMembers.Item(inner(scope), index);
                    continue;
                }
                string name = RequireName();
                value = scope => JinjaMembers.Attribute(inner(scope), name);
            }
            else if (Skip("[")) value = ReadSubscript(inner);
            else if (Is("(")) value = ReadCall(inner);
            else return value;
        }
    }

    Func<JinjaScope, object?> ReadSubscript(Func<JinjaScope, object?> value)
    {
        var bounds = new List<Func<JinjaScope, object?>?> { Is(":") ? null : ReadList() };
        while (Skip(":")) bounds.Add(Is(":") || Is("]") ? null : Read());
        Require("]");
        if (bounds.Count == 1) return scope => JinjaMembers.Item(value(scope), bounds[0]!(scope));
        if (bounds.Count > 3) throw Bad("a slice of more than three parts");
        bounds.Add(null);
        return scope => JinjaMembers.Slice(value(scope), bounds[0]?.Invoke(scope), bounds[1]?.Invoke(scope), bounds[2]?.Invoke(scope));
    }

    Func<JinjaScope, object?> ReadCall(Func<JinjaScope, object?> function)
    {
        int line = Token.Line;
        var arguments = ReadArguments();
        return scope =>
        {
            scope.Step();
            if (function(scope) is not JinjaFunction called)
                throw new InvalidDataException($"chat template, line {line}: the called value is not a known function");
            var (values, named) = arguments(scope);
            return called(values, named);
        };
    }

    /// <summary>Returns whether a name occurs from a token to the current one.</summary>
    protected bool Mentions(int from, string name) =>
        tokens[from..At].Exists(token => token.Kind == JinjaKind.Name && token.Text == name);

    /// <summary>Parses arguments in parentheses.</summary>
    protected Func<JinjaScope, (IReadOnlyList<object?> Values, IReadOnlyDictionary<string, object?> Named)> ReadArguments()
    {
        var values = new List<Func<JinjaScope, object?>>();
        var named = new List<(string Name, Func<JinjaScope, object?> Value)>();
        Require("(");
        while (!Skip(")"))
        {
            if (Token.Kind == JinjaKind.Name && tokens[At + 1] is { Kind: JinjaKind.Sign, Text: "=" })
            {
                string name = RequireName();
                At++;
                named.Add((name, Read()));
            }
            else values.Add(Read());
            if (!Is(")")) Require(",");
        }
        return scope => (values.ConvertAll(value => value(scope)), named.ToDictionary(item => item.Name, item => item.Value(scope)));
    }

    Func<JinjaScope, object?> ReadFilters(Func<JinjaScope, object?> value)
    {
        while (true)
        {
            if (Is("is") || Is("(")) Link();
            if (Skip("|")) value = ReadFilter(value);
            else if (Skip("is")) value = ReadTest(value);
            else if (Is("(")) value = ReadCall(value);
            else return value;
        }
    }

    /// <summary>Parses the name and the arguments of a filter.</summary>
    protected Func<JinjaScope, object?> ReadFilter(Func<JinjaScope, object?> value)
    {
        Link();
        string name = RequireName();
        if (!Is("(")) return scope => JinjaFilters.Apply(name, value(scope), [], new Dictionary<string, object?>());
        var arguments = ReadArguments();
        return scope =>
        {
            var (values, named) = arguments(scope);
            return JinjaFilters.Apply(name, value(scope), values, named);
        };
    }

    Func<JinjaScope, object?> ReadTest(Func<JinjaScope, object?> value)
    {
        bool negated = Skip("not");
        string name = RequireName();
        Func<JinjaScope, IReadOnlyList<object?>> arguments = _ => [];
        if (Is("("))
        {
            var read = ReadArguments();
            arguments = scope => read(scope).Values;
        }
        else if (Token.Kind is JinjaKind.String or JinjaKind.Number || Is("[")
            || (Token.Kind == JinjaKind.Name && !Is("else") && !Is("or") && !Is("and") && !Is("is") && !Is("if") && !Is("not") && !Is("in")))
        {
            var argument = ReadPostfix(ReadPrimary());
            arguments = scope => [argument(scope)];
        }
        return scope => JinjaFilters.Test(name, value(scope), arguments(scope)) != negated;
    }
}
