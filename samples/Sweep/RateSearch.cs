using HybridArchitectures.Evaluation.HeldOut;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;

namespace SweepSample;

/// <summary>
/// Trains every design at every rate and prints the losses as a table. The runs have a number of steps, so the result does not depend on the speed of
/// the machine.
/// </summary>
static class RateSearch
{
    public static int Run(TokenDataset training, TokenDataset heldOut, StopSignals stop)
    {
        var result = new Sweep(new SweepOptions
        {
            Folder = Path.Combine("runs", "sweep-rates"), Seeds = [1], Data = training, HeldOut = heldOut,
            Designs = [.. from rate in Arm.Rates from design in Arm.Designs
                          select design with { Name = Name(design.Name, rate), LearningRate = rate }],
            Training = Arm.Training(Duration.Steps(Arm.TrialSteps)),
            Tasks = [new HeldOutTask(heldOut, Arm.ContextLength, tokens: 65_536)],
        }).Run(new Lines(), stop.Token);
        if (!result.IsComplete)
        {
            Console.WriteLine("stopped; the same command continues");
            return stop.ExitCode;
        }
        Console.WriteLine($"| peak rate | {string.Join(" | ", Arm.Rates.Select(RateTrials.Text))} |");
        foreach (var design in Arm.Designs)
        {
            var losses = Arm.Rates.Select(rate => result.Mean(Name(design.Name, rate), "held-out loss", "loss")?.Value);
            Console.WriteLine($"| {design.Name} | {string.Join(" | ", losses.Select(loss => $"{loss:0.0000}"))} |");
        }
        return 0;
    }

    static string Name(string design, double rate) => $"{design}, rate {RateTrials.Text(rate)}";
}
