namespace HybridArchitectures.Training;

/// <summary>What is done about a step whose loss or gradient is far above those before it.</summary>
public enum SpikeAction
{
    /// <summary>The step's gradients are dropped and the run goes on with the next rows.</summary>
    Skip,

    /// <summary>The run ends with a <see cref="TrainingDivergedException"/>, the parameters as before the step.</summary>
    Stop,
}
