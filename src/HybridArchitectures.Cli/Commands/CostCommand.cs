using System.CommandLine;
using System.Globalization;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Cost;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid cost</c>, which prints parameters, operations, cache and memory.</summary>
static class CostCommand
{
    public static Command Create()
    {
        var designs = new Argument<string[]>("designs") { Description = DesignArgument.Description, Arity = ArgumentArity.OneOrMore };
        var context = new Flag<int>("--context", "sequenceLength") { Description = "The context length in tokens.", DefaultValueFactory = _ => 8192 };
        var accelerator = new Flag<string?>("--accelerator", "accelerator")
        {
            Description = $"Adds the minimum time of a decoding step: {string.Join(", ", Accelerator.Known.Select(known => known.Name))}.",
        };
        var batch = new Flag<int>("--batch", "batch") { Description = "The number of rows of the decoding step.", DefaultValueFactory = _ => 1 };
        var ranks = new Flag<int>("--ranks", "ranks") { Description = "Adds the communication and the efficiency of training on N GPUs.",
            DefaultValueFactory = _ => 1 };
        var link = new Option<string>("--link") { Description = $"The connection of the GPUs: {Names}.", DefaultValueFactory = _ => "NVLink" };
        var machines = new Option<int>("--machines") { Description = "The machines of the GPUs, for the hybrid strategy. Within one: NVLink.",
            DefaultValueFactory = _ => 1 };
        var passes = new Flag<int>("--passes", "passes") { Description = "The passes of a training step on one GPU.",
            DefaultValueFactory = _ => 1 };
        var tokens = new Flag<long>("--tokens-per-rank", "tokens", "tokensPerRank") { Description = "The tokens of a training step on one GPU.",
            DefaultValueFactory = _ => 65536 };
        var flops = new Flag<double>("--flops", "flopsPerSecond") { Description = "The FLOPs per second that a GPU reaches in training.",
            DefaultValueFactory = _ => 5.3e14 };
        var command = GuardedCommand.Create("cost", "Computes the cost of designs: parameters, operations, cache and memory.",
            "MMTM:width=2048,heads=32,state=128,feed=8192,repeat=8 --context 32768");
        command.Add(designs);
        command.Add(context);
        command.Add(accelerator);
        command.Add(batch);
        foreach (var option in (Option[])[ranks, link, machines, passes, tokens, flops]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            var division = new Division(parsed.GetValue(ranks), parsed.GetValue(machines), parsed.GetValue(link)!, parsed.GetValue(passes),
                parsed.GetValue(tokens), parsed.GetValue(flops));
            foreach (string text in parsed.GetValue(designs)!)
                Print(text, parsed.GetValue(context), parsed.GetValue(accelerator), parsed.GetValue(batch), division);
            return ExitCode.Success;
        });
        return command;
    }

    static void Print(string design, int context, string? accelerator, int batch, Division division)
    {
        var cost = DesignArgument.Parse(design).Cost(context);
        // all of it or none: an invalid option is refused before the first line
        List<string> lines = [$"{cost.Design.Name ?? design}: {cost.Design.Pattern}\n{cost}"];
        if (accelerator is not null)
            lines.Add($"decode step      {cost.Decode(Accelerator.Get(accelerator), batch).Seconds * 1e3:0.###} ms at least on {accelerator}, "
                + $"{batch} rows");
        if (division.Ranks != 1) lines.Add(Communication(cost, division));
        lines.ForEach(Terminal.Line);
    }

    static string Names => string.Join(", ", Interconnect.Known.Select(known => known.Name));

    /// <summary>Contains how a run is divided over GPUs.</summary>
    sealed record Division(int Ranks, int Machines, string Link, int Passes, long Tokens, double Flops);

    static string Communication(DesignCost cost, Division of)
    {
        var link = Interconnect.Known.FirstOrDefault(known => string.Equals(known.Name, of.Link, StringComparison.OrdinalIgnoreCase))
            ?? throw Require.Refusal("link", of.Link, $"one of {Names}");
        Require.AtLeast(of.Machines, 1, "--machines");
        if (of.Ranks % of.Machines != 0) throw Require.OutOfRange("--machines", of.Machines, $"a divisor of {of.Ranks}, the number of ranks");
        var memory = cost.TrainingMemory();
        int each = of.Ranks / of.Machines;
        string lines = string.Create(CultureInfo.InvariantCulture, $"""
            {$"{of.Ranks} x {link.Name}",-16} {cost.Communication(of.Ranks, link, of.Tokens, of.Flops)}
            fully sharded    {cost.FullyShardedCommunication(of.Ranks, link, of.Tokens, of.Passes, of.Flops)}
            memory per rank  {Units.Bytes(memory.WithShardedOptimizer(of.Ranks).Total)} for one row with a sharded optimizer, {
                Units.Bytes(memory.WithFullSharding(cost.Design, of.Ranks).Total)} fully sharded
            """);
        if (of.Machines == 1) return lines;
        var within = Interconnect.Get("NVLink");
        return lines + string.Create(CultureInfo.InvariantCulture, $"""

            hybrid, NVLink   {cost.HybridCommunication(of.Machines, each, within, link, of.Tokens, of.Passes, of.Flops)}
            memory per rank  {Units.Bytes(memory.WithFullSharding(cost.Design, each).Total)} for one row, hybrid
            """);
    }
}
