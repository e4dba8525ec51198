using System.CommandLine;
using System.Globalization;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Cost;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid cost</c>: prints parameters, operations, cache and memory.</summary>
static class CostCommand
{
    public static Command Create()
    {
        var designs = new Argument<string[]>("designs") { Description = DesignArgument.Description, Arity = ArgumentArity.OneOrMore };
        var context = new Option<int>("--context") { Description = "The context length in tokens.", DefaultValueFactory = _ => 8192 };
        var accelerator = new Option<string?>("--accelerator") { Description =
            $"Adds the minimum time of a decoding step: {string.Join(", ", Accelerator.Known.Select(known => known.Name))}." };
        var batch = new Option<int>("--batch") { Description = "The number of rows of the decoding step.", DefaultValueFactory = _ => 1 };
        var ranks = new Option<int>("--ranks") { Description = "Adds the communication and the efficiency of training on N GPUs.",
            DefaultValueFactory = _ => 1 };
        var link = new Option<string>("--link") { Description = $"The connection of the GPUs: {Names}.", DefaultValueFactory = _ => "NVLink" };
        var tokens = new Option<long>("--tokens-per-rank") { Description = "The tokens of a training step on one GPU.",
            DefaultValueFactory = _ => 65536 };
        var flops = new Option<double>("--flops") { Description = "The FLOPs per second that a GPU reaches in training.",
            DefaultValueFactory = _ => 5.3e14 };
        var command = GuardedCommand.Create("cost", "Computes the cost of designs: parameters, operations, cache and memory.",
            "MMTM:width=2048,heads=32,state=128,feed=8192,repeat=8 --context 32768");
        command.Add(designs);
        command.Add(context);
        command.Add(accelerator);
        command.Add(batch);
        foreach (var option in (Option[])[ranks, link, tokens, flops]) command.Add(option);
        command.SetGuardedAction(parsed =>
        {
            foreach (string text in parsed.GetValue(designs)!)
            {
                var cost = DesignArgument.Parse(text).Cost(parsed.GetValue(context));
                Terminal.Line($"{cost.Design.Name ?? text}: {cost.Design.Pattern}\n{cost}");
                if (parsed.GetValue(accelerator) is { } name)
                    Terminal.Line($"decode step      {cost.Decode(Accelerator.Get(name), parsed.GetValue(batch)).Seconds * 1e3:0.###} ms at least "
                        + $"on {name}, {parsed.GetValue(batch)} rows");
                if (parsed.GetValue(ranks) != 1)
                    Terminal.Line(Communication(cost, parsed.GetValue(ranks), parsed.GetValue(link)!, parsed.GetValue(tokens),
                        parsed.GetValue(flops)));
            }
            return ExitCode.Success;
        });
        return command;
    }

    static string Names => string.Join(", ", Interconnect.Known.Select(known => known.Name));

    static string Communication(DesignCost cost, int ranks, string link, long tokens, double flops)
    {
        var connection = Interconnect.Known.FirstOrDefault(known => string.Equals(known.Name, link, StringComparison.OrdinalIgnoreCase))
            ?? throw Require.Refusal(nameof(link), link, $"one of {Names}");
        return string.Create(CultureInfo.InvariantCulture, $"""
            {$"{ranks} x {connection.Name}",-16} {cost.Communication(ranks, connection, tokens, flops)}
            sharded state    {Units.Bytes(cost.TrainingMemory().WithShardedOptimizer(ranks).Total)} of training memory per rank for one row
            """);
    }
}
