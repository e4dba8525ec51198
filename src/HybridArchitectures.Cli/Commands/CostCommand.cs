using System.CommandLine;
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
        var command = GuardedCommand.Create("cost", "Computes the cost of designs: parameters, operations, cache and memory.",
            "MMTM:width=2048,heads=32,state=128,feed=8192,repeat=8 --context 32768");
        command.Add(designs);
        command.Add(context);
        command.Add(accelerator);
        command.Add(batch);
        command.SetGuardedAction(parsed =>
        {
            foreach (string text in parsed.GetValue(designs)!)
            {
                var cost = DesignArgument.Parse(text).Cost(parsed.GetValue(context));
                Terminal.Line($"{cost.Design.Name ?? text}: {cost.Design.Pattern}\n{cost}");
                if (parsed.GetValue(accelerator) is { } name)
                    Terminal.Line($"decode step      {cost.Decode(Accelerator.Get(name), parsed.GetValue(batch)).Seconds * 1e3:0.###} ms at least "
                        + $"on {name}, {parsed.GetValue(batch)} rows");
            }
            return ExitCode.Success;
        });
        return command;
    }
}
