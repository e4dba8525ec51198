using System.Text;

namespace HybridArchitectures.Chat.Jinja;

/// <summary>
/// Parses and renders a template in the subset of Jinja that chat templates use, with the settings of transformers. It reads no files and runs no
/// code. The number of steps and the length of the output are limited.
/// </summary>
/// <remarks>
/// Supported statements: if, for (with if, else, break and continue), set, with, macro, call, filter, raw and generation. Not supported:
/// inheritance, imports, <c>recursive</c> loops, and filters that write HTML.
/// </remarks>
sealed class JinjaTemplate : JinjaExpressions
{
    const int MaxBlocks = 100;

    readonly Action<JinjaScope> body;
    int blocks;

    JinjaTemplate(List<JinjaToken> tokens) : base(tokens)
    {
        body = ReadBody();
        if (Token.Kind != JinjaKind.End) throw Unexpected("no such statement here");
    }

    /// <summary>Parses a template.</summary>
    /// <exception cref="InvalidDataException">The template is damaged or uses an unsupported feature. The message names the line.</exception>
    public static JinjaTemplate Parse(string template) => new(JinjaLexer.Read(template));

    /// <summary>Renders the template.</summary>
    /// <param name="variables">The variables. <see cref="JinjaValue"/> lists their types.</param>
    /// <param name="now">The date and time for the template.</param>
    /// <exception cref="InvalidDataException">The template uses a value that does not exist.</exception>
    /// <exception cref="ArgumentException">The template refuses the conversation.</exception>
    public string Render(IReadOnlyDictionary<string, object?> variables, DateTime now)
    {
        var known = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["raise_exception"] = (JinjaFunction)((values, _) =>
                throw Kernels.Arguments.Require.Unfit(null, $"the chat template refuses the conversation: {JinjaValue.Text(values.FirstOrDefault())}",
                    "a conversation that the template accepts")),
            ["strftime_now"] = (JinjaFunction)((values, _) =>
                JinjaClock.Format(now, values is [string format] ? format : throw JinjaValue.Bad("strftime_now without a format"))),
            ["range"] = (JinjaFunction)((values, _) => Range(values)),
            ["dict"] = (JinjaFunction)Entries,
            ["namespace"] = (JinjaFunction)((values, named) => new JinjaNamespace(Entries(values, named))),
        };
        foreach (var (name, value) in variables) known[name] = value;
        var scope = new JinjaScope(known);
        try
        {
            body(scope);
        }
        catch (Exception e) when (e is ArithmeticException or InvalidCastException or ArgumentOutOfRangeException or InvalidOperationException)
        {
            throw JinjaValue.Bad($"a value that does not fit its use ({e.Message})");
        }
        return scope.Output.ToString();
    }

    // the entries of at most one mapping, and those given by name
    static Dictionary<string, object?> Entries(IReadOnlyList<object?> values, IReadOnlyDictionary<string, object?> named)
    {
        var entries = values switch
        {
            [] => new Dictionary<string, object?>(StringComparer.Ordinal),
            [Dictionary<string, object?> map] => new(map, StringComparer.Ordinal),
            _ => throw JinjaValue.Bad("arguments of dict or namespace; expected at most one mapping, and names"),
        };
        foreach (var (name, value) in named) entries[name] = value;
        return entries;
    }

    static List<object?> Range(IReadOnlyList<object?> values)
    {
        var numbers = values.Select(JinjaValue.Whole).ToArray();
        var (start, stop, step) = numbers switch
        {
            [var end] => (0, end, 1),
            [var begin, var end] => (begin, end, 1),
            [var begin, var end, var by] => (begin, end, by),
            _ => (0L, 0L, 0L),
        };
        if (step == 0) throw JinjaValue.Bad("range needs one to three numbers, and a step that is not 0");
        var result = new List<object?>();
        for (Int128 i = start; step > 0 ? i < stop : i > stop; i += step)
        {
            if (result.Count == 100_000) throw JinjaValue.Bad("a range of more than 100000 numbers");
            result.Add((long)i);
        }
        return result;
    }

    // reads up to the statement that ends the body, which is not consumed: its name is the current token
    Action<JinjaScope> ReadBody(params string[] ends)
    {
        if (++blocks > MaxBlocks) throw Bad($"more than {MaxBlocks} nested statements");
        var parts = new List<Action<JinjaScope>>();
        while (Token.Kind != JinjaKind.End)
        {
            var token = Token;
            At++;
            if (token.Kind == JinjaKind.Text) parts.Add(scope => scope.Write(token.Text));
            else if (token.Kind == JinjaKind.OutputStart)
            {
                var value = ReadList();
                TagEnd();
                parts.Add(scope => scope.Write(JinjaValue.Text(value(scope))));
            }
            else if (ends.Contains(Token.Text)) break;
            else parts.Add(ReadStatement());
        }
        blocks--;
        return scope =>
        {
            foreach (var part in parts)
            {
                scope.Step();
                part(scope);
                if (scope.Leaves is not null) return;
            }
        };
    }

    void TagEnd()
    {
        if (Token.Kind != JinjaKind.TagEnd) throw Unexpected("the end of the tag");
        At++;
    }

    void End(string name)
    {
        Require(name);
        TagEnd();
    }

    Action<JinjaScope> ReadStatement()
    {
        string name = RequireName();
        switch (name)
        {
            case "if": return ReadIf();
            case "for": return ReadFor();
            case "set": return ReadSet();
            case "with": return ReadWith();
            case "macro": return ReadMacro();
            case "call": return ReadCallBlock();
            case "filter": return ReadFilterBlock();
            case "break" or "continue":
                TagEnd();
                return scope => scope.Leaves = name;
            case "generation":
                TagEnd();
                var inner = ReadBody("endgeneration");
                End("endgeneration");
                return inner;
            default:
                throw Bad($"the statement \"{name}\" is not supported");
        }
    }

    Action<JinjaScope> ReadIf()
    {
        var branches = new List<(Func<JinjaScope, object?> Condition, Action<JinjaScope> Body)>();
        Action<JinjaScope>? otherwise = null;
        var condition = ReadList();
        while (true)
        {
            TagEnd();
            branches.Add((condition, ReadBody("elif", "else", "endif")));
            if (!Skip("elif")) break;
            condition = ReadList();
        }
        if (Skip("else"))
        {
            TagEnd();
            otherwise = ReadBody("endif");
        }
        End("endif");
        return scope =>
        {
            foreach (var (holds, branch) in branches)
            {
                if (!JinjaValue.IsTrue(holds(scope))) continue;
                branch(scope);
                return;
            }
            otherwise?.Invoke(scope);
        };
    }

    Action<JinjaScope> ReadWith()
    {
        var assigned = new List<(string[] Names, Func<JinjaScope, object?> Value)>();
        while (Token.Kind != JinjaKind.TagEnd)
        {
            string[] names = [RequireName()];
            Require("=");
            assigned.Add((names, Read()));
            if (Token.Kind != JinjaKind.TagEnd) Require(",");
        }
        TagEnd();
        var body = ReadBody("endwith");
        End("endwith");
        return scope =>
        {
            var inner = scope.Inner();
            foreach (var (names, value) in assigned) Assign(inner, names, value(scope));
            body(inner);
            scope.Leaves = inner.Leaves;
        };
    }

    string[] ReadTargets()
    {
        var names = new List<string>();
        bool grouped = Skip("(");
        do names.Add(RequireName());
        while (Skip(","));
        if (grouped) Require(")");
        return [.. names];
    }

    static void Assign(JinjaScope scope, string[] names, object? value)
    {
        if (names.Length == 1)
        {
            scope.Set(names[0], value);
            return;
        }
        var items = JinjaValue.Items(value);
        if (items.Count != names.Length) throw JinjaValue.Bad($"{items.Count} values for {names.Length} names");
        for (int i = 0; i < names.Length; i++) scope.Set(names[i], items[i]);
    }

    Action<JinjaScope> ReadFor()
    {
        string[] names = ReadTargets();
        Require("in");
        var source = ReadOr();
        var condition = Skip("if") ? Read() : null;
        TagEnd();
        var body = ReadBody("else", "endfor");
        Action<JinjaScope>? otherwise = null;
        if (Skip("else"))
        {
            TagEnd();
            otherwise = ReadBody("endfor");
        }
        End("endfor");
        return scope =>
        {
            var inner = scope.Inner();
            var items = JinjaValue.Items(source(scope));
            if (condition is not null) items = items.FindAll(item => Holds(inner, item));
            var loop = new JinjaLoop(items, scope.Get("loop"));
            for (int i = 0; i < items.Count && inner.Leaves != "break"; i++)
            {
                scope.Step();
                // variables that one iteration sets are not visible in the next one
                inner = scope.Inner();
                Assign(inner, names, items[i]);
                inner.Set("loop", loop.At(i));
                body(inner);
            }
            if (items.Count == 0) otherwise?.Invoke(scope.Inner());
        };

        bool Holds(JinjaScope inner, object? item)
        {
            Assign(inner, names, item);
            return JinjaValue.IsTrue(condition(inner));
        }
    }

    Action<JinjaScope> ReadSet()
    {
        string first = RequireName();
        if (Skip("."))
        {
            string member = RequireName();
            Require("=");
            var assigned = ReadList();
            TagEnd();
            return scope =>
            {
                if (scope.Get(first) is not JinjaNamespace space) throw JinjaValue.Bad($"\"{first}\" is not a namespace");
                space.Values[member] = assigned(scope);
            };
        }
        At--;
        string[] names = ReadTargets();
        if (Skip("="))
        {
            var value = ReadList();
            TagEnd();
            return scope => Assign(scope, names, value(scope));
        }
        Func<JinjaScope, object?> filtered = scope => scope.Get("\0");
        while (Skip("|")) filtered = ReadFilter(filtered);
        TagEnd();
        var body = ReadBody("endset");
        End("endset");
        return scope => Assign(scope, names, Filtered(scope, body, filtered));
    }

    // passes the output of a body through filters, as a variable with a name that no template can contain
    static object? Filtered(JinjaScope scope, Action<JinjaScope> body, Func<JinjaScope, object?> filter)
    {
        var inner = scope.Inner(new StringBuilder());
        body(inner);
        inner.Set("\0", inner.Output.ToString());
        return filter(inner);
    }

    Action<JinjaScope> ReadFilterBlock()
    {
        var filtered = ReadFilter(scope => scope.Get("\0"));
        while (Skip("|")) filtered = ReadFilter(filtered);
        TagEnd();
        var body = ReadBody("endfilter");
        End("endfilter");
        return scope => scope.Write(JinjaValue.Text(Filtered(scope, body, filtered)));
    }

    List<(string Name, Func<JinjaScope, object?>? Otherwise)> ReadParameters()
    {
        var parameters = new List<(string, Func<JinjaScope, object?>?)>();
        Require("(");
        while (!Skip(")"))
        {
            string name = RequireName();
            parameters.Add((name, Skip("=") ? Read() : null));
            if (!Is(")")) Require(",");
        }
        return parameters;
    }

    static JinjaFunction Macro(JinjaScope scope, List<(string Name, Func<JinjaScope, object?>? Otherwise)> parameters, Action<JinjaScope> body,
        bool takesMore = false, bool takesMoreNamed = false) => (values, named) =>
    {
        var inner = scope.Inner(new StringBuilder());
        var unknown = named.Where(item => item.Key != "caller" && !parameters.Exists(parameter => parameter.Name == item.Key)).ToDictionary();
        if (values.Count > parameters.Count && !takesMore) throw JinjaValue.Bad($"{values.Count} arguments of a macro that takes {parameters.Count}");
        if (unknown.Count > 0 && !takesMoreNamed)
            throw JinjaValue.Bad($"the argument \"{unknown.Keys.First()}\" of a macro that has no such parameter");
        if (takesMore) inner.Set("varargs", new JinjaTuple(values.Skip(parameters.Count)));
        if (takesMoreNamed) inner.Set("kwargs", unknown);
        for (int i = 0; i < parameters.Count; i++)
        {
            var (name, otherwise) = parameters[i];
            if (i < values.Count) inner.Set(name, values[i]);
            else if (named.TryGetValue(name, out object? value)) inner.Set(name, value);
            else inner.Set(name, otherwise is null ? JinjaValue.Undefined : otherwise(inner));
        }
        if (named.TryGetValue("caller", out object? caller)) inner.Set("caller", caller);
        body(inner);
        return inner.Output.ToString();
    };

    Action<JinjaScope> ReadMacro()
    {
        string name = RequireName();
        var parameters = ReadParameters();
        TagEnd();
        int start = At;
        var body = ReadBody("endmacro");
        bool takesMore = Mentions(start, "varargs"), takesMoreNamed = Mentions(start, "kwargs");
        End("endmacro");
        return scope => scope.Set(name, Macro(scope, parameters, body, takesMore, takesMoreNamed));
    }

    Action<JinjaScope> ReadCallBlock()
    {
        var parameters = Is("(") ? ReadParameters() : [];
        string name = RequireName();
        var arguments = ReadArguments();
        TagEnd();
        var body = ReadBody("endcall");
        End("endcall");
        return scope =>
        {
            if (scope.Get(name) is not JinjaFunction called) throw JinjaValue.Bad($"\"{name}\" is not a macro");
            var (values, named) = arguments(scope);
            var withCaller = new Dictionary<string, object?>(named, StringComparer.Ordinal) { ["caller"] = Macro(scope, parameters, body) };
            scope.Write(JinjaValue.Text(called(values, withCaller)));
        };
    }
}
