using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text;

namespace HybridArchitectures.Chat.Jinja;

/// <summary>Contains the variables that a part of a template can see, and its output.</summary>
sealed class JinjaScope
{
    const int MaxSteps = 1_000_000, MaxOutput = 1 << 26, MaxDepth = 100, MaxSeconds = 10;

    readonly JinjaScope? outer;
    readonly JinjaScope root;
    readonly Dictionary<string, object?> variables;
    readonly int depth;
    readonly long start = Stopwatch.GetTimestamp();
    int steps;

    /// <summary>Creates the outermost scope of a template.</summary>
    public JinjaScope(Dictionary<string, object?> variables) => (this.variables, root, Output) = (variables, this, new StringBuilder());

    JinjaScope(JinjaScope outer, StringBuilder output)
    {
        (this.outer, root, variables, Output, depth) = (outer, outer.root, new(StringComparer.Ordinal), output, outer.depth + 1);
        if (depth > MaxDepth) throw new InvalidDataException($"the chat template nests more than {MaxDepth} loops and macros");
    }

    /// <summary>Gets the output.</summary>
    public StringBuilder Output { get; }

    /// <summary>Gets or sets the statement that leaves the loop: break or continue. The loop resets it to null.</summary>
    public string? Leaves { get; set; }

    /// <summary>Returns a scope inside this one.</summary>
    /// <param name="output">The output of the scope. The default, null, means that of this scope.</param>
    public JinjaScope Inner(StringBuilder? output = null) => new(this, output ?? Output);

    /// <summary>Returns a variable, or <see cref="JinjaValue.Undefined"/>.</summary>
    public object? Get(string name)
    {
        for (var scope = this; scope is not null; scope = scope.outer)
            if (scope.variables.TryGetValue(name, out object? value)) return value;
        return JinjaValue.Undefined;
    }

    public void Set(string name, object? value) => variables[name] = value;

    /// <summary>Counts a step, so that no template runs forever.</summary>
    public void Step()
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack()) throw new InvalidDataException("the chat template nests too deeply");
        if (++root.steps > MaxSteps) throw new InvalidDataException($"the chat template takes more than {MaxSteps} steps");
        if (Stopwatch.GetElapsedTime(root.start).TotalSeconds > MaxSeconds)
            throw new InvalidDataException($"the chat template takes more than {MaxSeconds} s");
    }

    public void Write(string text)
    {
        if (Output.Length + text.Length > MaxOutput) throw new InvalidDataException($"the chat template writes more than {MaxOutput} characters");
        Output.Append(text);
    }
}
