namespace HybridArchitectures.Training.Running;

/// <summary>Specifies what happens at a step whose loss or gradient is far above those before it.</summary>
public enum SpikeAction
{
    /// <summary>The gradients of the step are deleted, and the run continues with the next rows.</summary>
    Skip,

    /// <summary>The run ends with a <see cref="TrainingDivergedException"/>, and the parameters are those before the step.</summary>
    Stop,
}
