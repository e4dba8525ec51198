using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Verification;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid verify</c>, which checks the invariances of the model of a design.</summary>
static class VerifyCommand
{
    public static Command Create()
    {
        var design = new Argument<string>("design") { Description = DesignArgument.Description };
        var command = GuardedCommand.Create(
            "verify", "Checks the model of a design: causality, caches, packed documents, padding. Exit code 1 if a check "
            + "fails.",
            "MMTM:width=64,vocabulary=64,heads=4,state=16,head=16,feed=128");
        command.Add(design);
        command.SetGuardedAction(parsed =>
        {
            var report = DesignVerifier.Verify(DesignArgument.Parse(parsed.GetValue(design)!));
            Terminal.Line($"{report}");
            return report.Passed ? ExitCode.Success : ExitCode.Found;
        });
        return command;
    }
}
