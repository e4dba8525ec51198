using Spectre.Console;

namespace HybridArchitectures.Cli.Output;

/// <summary>Writes tables and progress to a terminal, or plain lines if output is redirected.</summary>
static class Terminal
{
    public static bool IsPlain => Console.IsOutputRedirected;

    /// <summary>Writes a line. The program uses the invariant culture.</summary>
    public static void Line(string text) => Console.WriteLine(text);

    /// <summary>Writes a table. It is aligned in a terminal, and has tabs between values if output is redirected.</summary>
    public static void Table(IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<string>> rows)
    {
        if (IsPlain)
        {
            Console.WriteLine(string.Join('\t', columns));
            foreach (var row in rows) Console.WriteLine(string.Join('\t', row));
            return;
        }
        var table = new Table { Border = TableBorder.Rounded };
        foreach (string column in columns) table.AddColumn(new TableColumn(Markup.Escape(column)));
        foreach (var row in rows) table.AddRow([.. row.Select(Markup.Escape)]);
        AnsiConsole.Write(table);
    }

    /// <summary>Runs work that reports its progress, as one bar per name in a terminal, or as lines if output is redirected.</summary>
    /// <param name="work">The work. Its argument reports a name, a share of 0 to 1, and a text.</param>
    public static T Progress<T>(Func<Action<string, double, string>, T> work)
    {
        if (IsPlain) return work((name, share, text) => Line($"{name}: {share:0 %} {text}"));
        return AnsiConsole.Progress().AutoClear(false).HideCompleted(false)
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn())
            .Start(context =>
            {
                var bars = new Dictionary<string, ProgressTask>();
                return work((name, share, text) =>
                {
                    if (!bars.TryGetValue(name, out var bar)) bars[name] = bar = context.AddTask(Markup.Escape(name), maxValue: 1);
                    bar.Description = Markup.Escape($"{name} {text}");
                    bar.Value = share;
                });
            });
    }
}
